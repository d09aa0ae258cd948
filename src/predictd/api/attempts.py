"""How often somebody may try a password: counted in the memory of this process, by account and by address."""

import threading
import time
from collections import deque
from collections.abc import Callable

from predictd.domain.errors import PredictdError

WINDOW_SECONDS = 15 * 60.0
MOST_OF_ACCOUNT = 10
MOST_OF_ADDRESS = 50
_MOST_KEYS = 100_000


class TooManyAttemptsError(PredictdError):
    """There were too many attempts."""

    code = "too_many_attempts"


class Attempts:
    """Failures of the last quarter of an hour. Safe to call from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[tuple[str, str], deque[float]] = {}

    def begin(self, name: str, address: str) -> None:
        """Count an attempt as failed until `succeed` says otherwise, so that many at once are not let through.

        Raises:
            TooManyAttemptsError: for this account, or from this address, too many have failed.
        """
        now = self._clock()
        with self._lock:
            for key, most in self._keys(name, address):
                failures = self._recent(key, now)
                if len(failures) >= most:
                    minutes = max(1, round((failures[0] + WINDOW_SECONDS - now) / 60))
                    raise TooManyAttemptsError(
                        f"There were too many attempts to sign in; wait for {minutes} min and try again."
                    )
            for key, _ in self._keys(name, address):
                self._recent(key, now).append(now)

    def succeed(self, name: str, address: str) -> None:
        """Take back the attempt, and what failed for the account before."""
        with self._lock:
            (account, _), (origin, _) = self._keys(name, address)
            self._failures.pop(account, None)
            failures = self._failures.get(origin)
            if failures:
                failures.pop()

    def _keys(self, name: str, address: str) -> tuple[tuple[tuple[str, str], int], tuple[tuple[str, str], int]]:
        account = ("account", name.strip().lower()[:320])
        return (account, MOST_OF_ACCOUNT), (("address", address), MOST_OF_ADDRESS)

    def _recent(self, key: tuple[str, str], now: float) -> deque[float]:
        if key not in self._failures and len(self._failures) >= _MOST_KEYS:
            self._failures = {
                key: kept for key, kept in self._failures.items() if kept and kept[-1] > now - WINDOW_SECONDS
            }
        failures = self._failures.setdefault(key, deque())
        while failures and failures[0] <= now - WINDOW_SECONDS:
            failures.popleft()
        return failures
