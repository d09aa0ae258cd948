"""The migrations of the schema, run by Alembic on an open connection."""

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent


def newest_revision() -> str:
    """Return the revision of the tables of this version of predictd."""
    return known_revisions()[-1]


def known_revisions() -> list[str]:
    """Return all revisions that this version of predictd has, oldest first."""
    return sorted(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def alembic_config(connection: sa.Connection) -> "Config":
    """Return Alembic's configuration of the packaged migrations."""
    # Alembic takes most of a second to import.
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: sa.Connection) -> None:
    """Run the migrations that the schema lacks."""
    from alembic import command  # noqa: PLC0415

    command.upgrade(alembic_config(connection), "head")
