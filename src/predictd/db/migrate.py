"""Alembic migrations on an open connection."""

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from predictd.db.database import MIGRATIONS


def alembic_config(connection: sa.Connection) -> Config:
    """Return the Alembic configuration of the packaged migrations."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: sa.Connection) -> None:
    """Run the pending migrations."""
    command.upgrade(alembic_config(connection), "head")
