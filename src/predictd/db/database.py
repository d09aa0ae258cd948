"""The connection to the database and its transactions."""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from predictd.db.audit import record_changes, start_recording
from predictd.db.migrations.revisions import newest_revision, upgrade
from predictd.domain.errors import SetupError

BUSY_SECONDS = 60
# Options of libpq: without them, a connection to a lost machine hangs for a quarter of an hour.
_KEEPALIVE_OPTIONS = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
LOCK_SECONDS = 3
UPGRADE_ATTEMPTS = 20
# Keys of PostgreSQL advisory locks.
_UPGRADE_LOCK, _SETUP_LOCK = 738210, 738211


class Database:
    """SQLite (WAL) or PostgreSQL behind one interface of read and write transactions.

    On SQLite a write transaction takes the write lock at its start, so its reads stay valid until it writes; on
    PostgreSQL queries lock rows where needed.
    """

    def __init__(self, url: str) -> None:
        """Open the database without connecting. An SQLite file is made private to its owner.

        Raises:
            SetupError: other users can read the file, and it belongs to one of them.
        """
        self.url = url
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        if self.is_sqlite:
            _restrict_permissions(make_url(url).database)
            self.engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS}, pool_size=32, max_overflow=64)
            sa.event.listen(self.engine, "connect", _configure_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)
        else:
            self.engine = sa.create_engine(
                url, pool_size=16, max_overflow=32, pool_pre_ping=True, connect_args=_KEEPALIVE_OPTIONS
            )
        # A response is read in several queries, which must see the same state; in SQLite it always does.
        snapshot = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._reading = self.engine.execution_options(**snapshot)

    def upgrade(self) -> None:
        """Upgrade the schema; does nothing if it is current.

        On PostgreSQL other servers keep running: a migration waits only seconds for a table lock, because later
        queries would queue behind it, and then retries.

        Raises:
            SetupError: the schema is of a newer predictd, or a table lock could not be acquired.
        """
        if self._is_current():
            return
        for attempt in range(1, UPGRADE_ATTEMPTS + 1):
            try:
                self._upgrade()
                return
            except OperationalError as error:
                if not _is_lock_timeout(error):
                    raise
                if attempt == UPGRADE_ATTEMPTS:
                    raise SetupError(
                        "The schema could not be upgraded because its tables were locked; nothing was changed. End the "
                        "long transactions that pg_stat_activity lists, then try again."
                    ) from error
                time.sleep(1)

    def check(self) -> None:
        """Raise SetupError unless the schema matches this version of predictd."""
        if not self._is_current():
            raise SetupError(
                f"The database has schema {self.revision() or '(none)'}, but this predictd needs "
                f"{newest_revision()}; run: predictd db upgrade"
            )

    def _is_current(self) -> bool:
        current, newest = self.revision(), newest_revision()
        if current is not None and current > newest:
            raise SetupError(
                f"The database has the schema {current} of a newer predictd; this one knows those up to {newest}. "
                "Install the newer predictd here too."
            )
        return current == newest

    def _upgrade(self) -> None:
        with self._unchecked() as connection:
            if not self.is_sqlite:
                connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})"))
                connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
            upgrade(connection)
            connection.commit()

    def revision(self) -> str | None:
        """Return the revision of the schema, None if there is no schema yet."""
        with self.engine.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            revision = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
            return str(revision) if revision is not None else None

    @contextmanager
    def prepared_by_one(self) -> Iterator[None]:
        """Hold an advisory lock so that only one server on this PostgreSQL database is in this block at a time."""
        if self.is_sqlite:
            yield
            return
        with self.engine.connect() as connection:
            connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_SETUP_LOCK})"))
            yield
            connection.rollback()

    @contextmanager
    def _unchecked(self) -> Iterator[sa.Connection]:
        """Open a connection without foreign keys: SQLite migrations rebuild tables, and cascades would empty them."""
        with self.engine.connect().execution_options(write=True) as connection:
            raw = connection.connection.driver_connection
            if self.is_sqlite and raw is not None:
                raw.execute("PRAGMA foreign_keys=OFF")
            try:
                yield connection
            finally:
                connection.rollback()
                if self.is_sqlite and raw is not None:
                    raw.execute("PRAGMA foreign_keys=ON")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a snapshot transaction; writes in it are rolled back."""
        with Session(self._reading, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a transaction that commits at its end, or rolls back on an exception.

        Changes by an actor are written to the audit log: see `predictd.db.audit`.
        """
        with Session(self.engine, expire_on_commit=False) as session:
            session.connection(execution_options={"write": True})
            start_recording(session)
            yield session
            record_changes(session)
            session.commit()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _is_lock_timeout(error: OperationalError) -> bool:
    return getattr(error.orig, "sqlstate", None) == "55P03"


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # Turn off the driver's transaction handling: it begins transactions too late for a write lock.
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


def _restrict_permissions(name: str | None) -> None:
    """Make the SQLite file and the files beside it private to their owner."""
    path = Path(name or "")
    if not name or not path.parent.is_dir():
        return
    try:
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        for file in (path, *(path.with_name(f"{path.name}-{ending}") for ending in ("wal", "shm"))):
            with suppress(FileNotFoundError):
                mode = stat.S_IMODE(file.stat().st_mode)
                if mode & 0o077:
                    file.chmod(mode & 0o700)
    except OSError as error:
        raise SetupError(
            f"The database {path} can't be made private: {error.strerror}. Change its owner to the user that predictd "
            "runs as."
        ) from error
