"""The connection to the database and its transactions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

BUSY_SECONDS = 60


class Database:
    """SQLite (WAL) or PostgreSQL behind one interface of read and write transactions.

    On SQLite a write transaction takes the write lock at its start, so that what it reads can't change before it
    writes; on PostgreSQL rows are locked where that matters.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        if self.is_sqlite:
            self.engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS}, pool_size=32, max_overflow=64)
            sa.event.listen(self.engine, "connect", _configure_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)
        else:
            self.engine = sa.create_engine(url, pool_size=16, max_overflow=32, pool_pre_ping=True)

    def upgrade(self) -> None:
        """Bring the schema up to date; harmless where it is."""
        with self.engine.connect().execution_options(write=True) as connection:
            if not self.is_sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(738210)"))
            command.upgrade(alembic_config(connection), "head")
            connection.commit()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that sees one state of the database; anything written in it is rolled back."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that is committed at its end, or rolled back when an exception leaves it."""
        with Session(self.engine, expire_on_commit=False) as session:
            session.connection(execution_options={"write": True})
            yield session
            session.commit()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def alembic_config(connection: sa.Connection | None = None) -> Config:
    """Alembic's configuration of the packaged migrations, on an open connection."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling is turned off: it would begin too late for a write lock.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    is_write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")
