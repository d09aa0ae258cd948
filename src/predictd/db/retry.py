"""Telling a database that is away for a moment from a mistake of ours, and outlasting it."""

import sqlite3
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionInTime
from sqlalchemy.orm import Session

from predictd.db.database import Database
from predictd.domain.errors import CancelledError, OutageError
from predictd.domain.outages import is_full

log = structlog.get_logger()

PATIENCE_SECONDS = 600.0
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 2.0

_SQLITE_OUTAGES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}

Answer = TypeVar("Answer")


def is_outage(error: BaseException) -> bool:
    """Whether the database could not be reached, was stopped, or has no room: the same may work in a moment."""
    if isinstance(error, NoConnectionInTime):
        return True
    if not isinstance(error, DBAPIError):
        return False
    # SQLite calls a wrong statement an operational error too.
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _SQLITE_OUTAGES
    return isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated


def insist(
    database: Database,
    do: Callable[[Session], Answer],
    *,
    cancel: threading.Event,
    seconds: float = PATIENCE_SECONDS,
) -> Answer:
    """Commit what `do` does in one transaction, again and again while the database is away.

    A database that died at the commit may have done it and not said so: `do` is called again then, and has to find out.

    Raises:
        CancelledError: `cancel` was set meanwhile.
        SQLAlchemyError, OSError, OutageError: what is away was so for all of the time, or is not at fault.
    """

    def commit() -> Answer:
        with database.write() as session:
            return do(session)

    return outlast(commit, cancel=cancel, seconds=seconds)


def outlast(do: Callable[[], Answer], *, cancel: threading.Event, seconds: float = PATIENCE_SECONDS) -> Answer:
    """Do what makes transactions of its own or needs the storage, in the same way, while either is away."""
    deadline = time.monotonic() + seconds
    wait = _FIRST_WAIT_SECONDS
    while True:
        try:
            return do()
        except Exception as error:
            is_away = is_outage(error) or is_full(error) or isinstance(error, OutageError)
            if not is_away or time.monotonic() >= deadline:
                raise
            log.warning("waiting_for_outage", error=str(error).splitlines()[0][:300])
        if cancel.wait(wait):
            raise CancelledError
        wait = min(wait * 2, _LONGEST_WAIT_SECONDS)
