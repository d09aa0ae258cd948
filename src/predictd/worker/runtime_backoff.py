"""The runtimes that this machine lacks: pickles of these are left to other servers for a while."""

import threading
import time
from collections.abc import Callable

TRIED_AGAIN_SECONDS = 300.0


class MissingRuntimes:
    """Folders of runtimes that could not be had here of late. Safe to call from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}

    def add(self, folder: str) -> None:
        """Leave runs in that runtime to others from now on."""
        with self._lock:
            self._until[folder] = self._clock() + TRIED_AGAIN_SECONDS

    def folders(self) -> tuple[str, ...]:
        """Those of now; after some minutes they are tried again."""
        with self._lock:
            now = self._clock()
            self._until = {folder: until for folder, until in self._until.items() if until > now}
            return tuple(self._until)
