"""The metadata of all tables."""

import pkgutil
from importlib import import_module

from sqlalchemy import MetaData

import predictd.db
from predictd.db.models import Base


def all_tables() -> MetaData:
    """Import every module of this package and return the metadata of all tables."""
    for module in pkgutil.iter_modules(predictd.db.__path__):
        if not module.ispkg:
            import_module(f"predictd.db.{module.name}")
    return Base.metadata
