"""The thread that looks at the calendar."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from predictd.db import Database
from predictd.rounds.calendar import Calendar
from predictd.rounds.life import tick
from predictd.storage import Storage

log = structlog.get_logger()

TICK_SECONDS = 1.0


class Ticker:
    """Looks at the calendar every second and tells `on_opened` when a round has opened."""

    def __init__(self, database: Database, storage: Storage, calendar: Calendar, on_opened: Callable[[], None]) -> None:
        self._database = database
        self._storage = storage
        self._calendar = calendar
        self._on_opened = on_opened
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="ticker")

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; a round that is being opened is opened to the end."""
        self._stopping.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                if tick(self._database, self._storage, self._calendar, datetime.now(UTC)) is not None:
                    self._on_opened()
            except Exception:
                log.exception("tick_failed")
            self._stopping.wait(TICK_SECONDS)
