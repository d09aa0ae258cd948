"""Lock a folder so that only one process builds it, even if processes die."""

import contextlib
import fcntl
import os
import shutil
from pathlib import Path
from types import TracebackType


class FolderLock:
    """Exclusive lock to build `home/<name>` in its hidden draft folder; waits for the current holder.

    The lock is on a file in `home` that is never removed. It is released when the last process with `descriptor` ends,
    however it ends.
    """

    def __init__(self, home: Path, name: str) -> None:
        self.home = home
        self.name = name
        self.draft = _draft(home, name)
        self.descriptor = -1

    def __enter__(self) -> "FolderLock":
        self.descriptor = os.open(_lock_file(self.home, self.name), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        except BaseException:
            os.close(self.descriptor)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.descriptor)

    def remove_abandoned(self) -> None:
        """Remove this folder's draft, and drafts of other folders whose builder is dead."""
        shutil.rmtree(self.draft, ignore_errors=True)
        for lock_file in self.home.glob(".*.lock"):
            name = lock_file.name[1 : -len(".lock")]
            draft = _draft(self.home, name)
            if name == self.name or not draft.exists():
                continue
            descriptor = os.open(lock_file, os.O_RDWR)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(draft, ignore_errors=True)
            os.close(descriptor)


def _lock_file(home: Path, name: str) -> Path:
    return home / f".{name}.lock"


def _draft(home: Path, name: str) -> Path:
    return home / f".{name}.building"
