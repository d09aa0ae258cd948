"""All tables, of whichever module they are."""

import pkgutil
from importlib import import_module

from sqlalchemy import MetaData

import predictd.db
from predictd.db.models import Base


def all_tables() -> MetaData:
    """The metadata with every table that predictd has: each module of this room is imported for it."""
    for module in pkgutil.iter_modules(predictd.db.__path__):
        if not module.ispkg:
            import_module(f"predictd.db.{module.name}")
    return Base.metadata
