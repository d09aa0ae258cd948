"""Folders with short names, because sockets need such; what a killed process leaves is removed by the next one."""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_PARENT = Path("/tmp")  # noqa: S108 (a folder of ours in it has a random name and mode 0700)
_PREFIX = "predictd-node-"
_LOCK = ".lock"


class ScratchFolder:
    """A new folder below /tmp, there until `close` or, if this process is killed, until the next one is made.

    Attributes:
        path: of the folder, mode 0700.
    """

    def __init__(self) -> None:
        _remove_abandoned()
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_PARENT))
        # Held as long as this process lives; not by its children.
        self._lock = os.open(self.path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Remove it with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):
            os.close(self._lock)


def _remove_abandoned() -> None:
    for path in _PARENT.glob(f"{_PREFIX}*"):
        try:
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if os.fstat(lock).st_uid != os.geteuid():
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
