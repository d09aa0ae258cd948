"""Retries of transactions while the database or the storage is unavailable."""

import sqlite3
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from predictd.db.database import Database
from predictd.domain.errors import CancelledError, OutageError, is_disk_full

log = structlog.get_logger()

MAX_OUTAGE_SECONDS = 600.0
_FIRST_WAIT_SECONDS = 0.1
_MAX_WAIT_SECONDS = 2.0

_SQLITE_OUTAGES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}

Result = TypeVar("Result")


def is_outage(error: BaseException) -> bool:
    """Return whether the error is temporary: the database is unreachable, stopped or out of disk space."""
    if isinstance(error, PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    # SQLite raises OperationalError for invalid statements too.
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _SQLITE_OUTAGES
    return isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated


def retry_transaction(
    database: Database,
    do: Callable[[Session], Result],
    *,
    cancel: threading.Event,
    seconds: float = MAX_OUTAGE_SECONDS,
) -> Result:
    """Run `do` in a transaction and commit it, retrying while the database is unavailable.

    `do` must be idempotent: a commit may have succeeded although the connection was lost.

    Raises:
        CancelledError: `cancel` was set.
        SQLAlchemyError, OSError, OutageError: the outage lasted longer than `seconds`, or the error is not temporary.
    """

    def commit() -> Result:
        with database.write() as session:
            return do(session)

    return retry_until_available(commit, cancel=cancel, seconds=seconds)


def retry_until_available(
    do: Callable[[], Result], *, cancel: threading.Event, seconds: float = MAX_OUTAGE_SECONDS
) -> Result:
    """Call `do`, which opens its own transactions or uses the storage, retrying during outages."""
    deadline = time.monotonic() + seconds
    wait = _FIRST_WAIT_SECONDS
    while True:
        try:
            return do()
        except Exception as error:
            is_temporary = is_outage(error) or is_disk_full(error) or isinstance(error, OutageError)
            if not is_temporary or time.monotonic() >= deadline:
                raise
            log.warning("retrying_after_outage", error=str(error).splitlines()[0][:300])
        if cancel.wait(wait):
            raise CancelledError
        wait = min(wait * 2, _MAX_WAIT_SECONDS)
