"""Threads that look at the clock."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from predictd.db.retry import is_outage
from predictd.domain.errors import OutageError

log = structlog.get_logger()

_PAUSE_AFTER_FAILURE = 30
_PAUSE_IN_OUTAGE = 2


class Ticker:
    """Calls `tick` with the time (aware, in UTC) again and again; a failure is logged and followed by a longer wait.

    `ended_at` is when a call last ended well, `failed_at` when the last one failed, None if it did not; `seconds` lie
    between the end of a call and the next.
    """

    def __init__(self, name: str, seconds: float, tick: Callable[[datetime], object]) -> None:
        """`seconds` lie between the end of a call and the next."""
        self.name = name
        self.ended_at: datetime | None = None
        self.failed_at: datetime | None = None
        self.seconds = seconds
        self._tick = tick
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; what has begun is done to its end."""
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
                    log.warning(f"{self.name}_waits", error=str(error).splitlines()[0][:300])
                    wait *= _PAUSE_IN_OUTAGE
                else:
                    log.exception(f"{self.name}_failed")
                    wait *= _PAUSE_AFTER_FAILURE
            self._stopping.wait(wait)
