"""Cache remote objects as files on this machine: each is fetched once and removed when the cache exceeds its limit."""

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from predictd.domain.errors import PlatformError

Fetch = Callable[[Path], None]
"""Writes the object to a path that does not exist."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_STATE_BYTES = 1000
_ABANDONED_SECONDS = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class FileCache:
    """A folder of copies, shared by any number of threads and processes of this machine.

    The copy of an object is in `files/` under its key, so its path and inode don't change while it is cached. A file in
    `states/` records the version of the copy. Users of the copy hold a shared lock on that file; fetching and removing
    it takes an exclusive lock. Its modification time is the last use.

    Attributes:
        folder: the folder of the cache; nothing else may be in it.
        limit: bytes above which the least recently used copies are removed, except those in use.
    """

    folder: Path
    limit: int

    @property
    def files(self) -> Path:
        """Return the folder of the copies."""
        return self.folder / "files"

    @contextmanager
    def acquire(self, key: str, version: str, size: int, fetch: Fetch) -> Iterator[Path]:
        """Return the copy of this version of the object, fetched if needed; it is not removed before the block ends.

        Raises:
            PlatformError: The disk is full, or the fetched object has another size.
        """
        path, state = self.files / key, self.folder / "states" / key
        expected_state = f"{version} {size}"
        while True:
            with locked_file(state, fcntl.LOCK_SH) as lock:
                if _is_copy(lock, path, expected_state, size):
                    os.utime(lock)
                    yield path
                    return
            try:
                with locked_file(state, fcntl.LOCK_EX | fcntl.LOCK_NB) as lock:
                    if not _is_copy(lock, path, expected_state, size):
                        os.ftruncate(lock, 0)
                        self._fetch(path, size, fetch)
                        os.pwrite(lock, expected_state.encode(), 0)
            except BlockingIOError:
                # The copy is in use or being fetched.
                with locked_file(state, fcntl.LOCK_SH) as lock:
                    is_other_version = not _is_copy(lock, path, expected_state, size) and _is_filled(lock)
                if is_other_version:
                    with self._fetch_private(size, fetch) as private_copy:
                        yield private_copy
                    return

    def rename(self, source: str, target: str) -> None:
        """Move the copy of an object that was renamed to its new key; do nothing if it is not cached."""
        path, state = self.files / source, self.folder / "states" / source
        new_path, new_state = self.files / target, self.folder / "states" / target
        if not state.is_file():
            return
        exclusive = fcntl.LOCK_EX | fcntl.LOCK_NB
        with (
            suppress(BlockingIOError, FileNotFoundError),
            locked_file(state, exclusive) as old_lock,
            locked_file(new_state, exclusive) as new_lock,
        ):
            version = os.pread(old_lock, _STATE_BYTES, 0)
            if version and not _is_filled(new_lock):
                new_path.parent.mkdir(parents=True, exist_ok=True)
                path.replace(new_path)
                os.pwrite(new_lock, version, 0)
            path.unlink(missing_ok=True)
            state.unlink()

    def temporary_path(self) -> Path:
        """Return a path that does not exist on the disk of the cache."""
        folder = self.folder / "partial"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder / secrets.token_hex(16)

    def sweep(self, now: float | None = None) -> int:
        """Remove partial files of killed processes and return their number."""
        limit = (time.time() if now is None else now) - _ABANDONED_SECONDS
        removed = 0
        for path in (self.folder / "partial").glob("*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < limit:
                    path.unlink()
                    removed += 1
        return removed

    def _fetch(self, path: Path, size: int, fetch: Fetch) -> None:
        self._make_room(size)
        partial = self.temporary_path()
        try:
            try:
                fetch(partial)
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                # The disk is smaller than the limit: remove everything that is not in use.
                partial.unlink(missing_ok=True)
                self._make_room(self.limit)
                fetch(partial)
            _check_size(partial, size)
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(path)
        except OSError as error:
            raise PlatformError(
                f"The object {path.relative_to(self.files)} can't be copied to this machine: {error.strerror}."
            ) from error
        finally:
            partial.unlink(missing_ok=True)

    @contextmanager
    def _fetch_private(self, size: int, fetch: Fetch) -> Iterator[Path]:
        """Fetch a copy for one use, while another version is in use under the key."""
        partial = self.temporary_path()
        try:
            fetch(partial)
            _check_size(partial, size)
            yield partial
        finally:
            partial.unlink(missing_ok=True)

    def _make_room(self, new_bytes: int) -> None:
        """Remove the least recently used copies until the new bytes are within the limit."""
        copies = []
        states = self.folder / "states"
        for state in states.rglob("*"):
            with suppress(FileNotFoundError):
                path = self.files / state.relative_to(states)
                if state.is_file() and path.is_file():
                    copies.append((state.stat().st_mtime, path.stat().st_size, state, path))
        used = sum(size for _, size, _, _ in copies) + new_bytes
        for _, size, state, path in sorted(copies):
            if used <= self.limit:
                return
            with suppress(BlockingIOError), locked_file(state, fcntl.LOCK_EX | fcntl.LOCK_NB) as lock:
                os.ftruncate(lock, 0)
                path.unlink(missing_ok=True)
                state.unlink(missing_ok=True)
                used -= size


def _is_copy(lock: int, path: Path, expected_state: str, size: int) -> bool:
    if os.pread(lock, _STATE_BYTES, 0) != expected_state.encode():
        return False
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _is_filled(lock: int) -> bool:
    return os.fstat(lock).st_size > 0


def _check_size(path: Path, size: int) -> None:
    fetched = path.stat().st_size
    if fetched != size:
        raise PlatformError(f"An object has {size} bytes, but {fetched} bytes were fetched; try again.")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked_file(path: Path, operation: int) -> Iterator[int]:
    """Open or create the file and lock it by flock(2). Raises BlockingIOError if it is locked and LOCK_NB is set."""
    while True:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, operation)
            # The previous holder of the lock may have removed the file.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    yield descriptor
                    return
        finally:
            os.close(descriptor)
