"""Periodic tasks in threads."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from predictd.db.retry import is_outage
from predictd.domain.errors import OutageError

log = structlog.get_logger()

_PAUSE_AFTER_FAILURE = 30
_PAUSE_IN_OUTAGE = 2


class PeriodicTask:
    """Calls `tick` with the time (aware, in UTC) repeatedly; a failure is logged and followed by a longer wait.

    `ended_at` is the end of the last successful call, `failed_at` is set if the last call failed; `seconds` is the
    delay between calls.
    """

    def __init__(self, name: str, seconds: float, tick: Callable[[datetime], object]) -> None:
        """`seconds` is the delay between the end of a call and the next."""
        self.name = name
        self.ended_at: datetime | None = None
        self.failed_at: datetime | None = None
        self.seconds = seconds
        self._tick = tick
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread after the current call."""
        self._stopping.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._stopping.is_set():
            wait = self.seconds
            try:
                self._tick(datetime.now(UTC))
                self.ended_at, self.failed_at = datetime.now(UTC), None
            except Exception as error:
                self.failed_at = datetime.now(UTC)
                if is_outage(error) or isinstance(error, OutageError):
                    log.warning(f"{self.name}_unavailable", error=str(error).splitlines()[0][:300])
                    wait *= _PAUSE_IN_OUTAGE
                else:
                    log.exception(f"{self.name}_failed")
                    wait *= _PAUSE_AFTER_FAILURE
            self._stopping.wait(wait)
