"""Copies of remote objects as files of this machine, each fetched once and kept while there is room."""

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
"""Writes the object to a path at which there is nothing."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_STATE_BYTES = 1000
_FORGOTTEN_SECONDS = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class ObjectCache:
    """A folder of copies, shared by any number of threads and processes of this machine.

    The copy of an object lies in `files/` under its key, so that its path and inode stay the same for as long as it is
    kept. Beside it, in `states/`, a file says which version of the object it is a copy of; whoever uses the copy holds
    a shared lock on that, whoever fetches or removes it an exclusive one, and its time of modification is the last use.

    Attributes:
        folder: where all of it lies; nothing else may lie there.
        limit: bytes beyond which those that were used longest ago are removed, except those in use.
    """

    folder: Path
    limit: int

    @property
    def files(self) -> Path:
        """The folder of the copies."""
        return self.folder / "files"

    @contextmanager
    def held(self, key: str, version: str, size: int, fetch: Fetch) -> Iterator[Path]:
        """The copy of that version of the object, fetched if it is not there; it is not removed before the block ends.

        Raises:
            PlatformError: the disk has no room for it, or what was fetched has another size.
        """
        path, state = self.files / key, self.folder / "states" / key
        wanted = f"{version} {size}"
        while True:
            with _locked(state, fcntl.LOCK_SH) as lock:
                if _is_copy(lock, path, wanted, size):
                    os.utime(lock)
                    yield path
                    return
            try:
                with _locked(state, fcntl.LOCK_EX | fcntl.LOCK_NB) as lock:
                    if not _is_copy(lock, path, wanted, size):
                        os.ftruncate(lock, 0)
                        self._fetch(path, size, fetch)
                        os.pwrite(lock, wanted.encode(), 0)
            except BlockingIOError:
                # Somebody uses it or fetches it.
                with _locked(state, fcntl.LOCK_SH) as lock:
                    replaced = not _is_copy(lock, path, wanted, size) and _is_filled(lock)
                if replaced:
                    with self._apart(size, fetch) as own:
                        yield own
                    return

    def moved(self, source: str, target: str) -> None:
        """Let the copy of one object be that of another with the same content; without one, nothing happens."""
        path, state = self.files / source, self.folder / "states" / source
        new_path, new_state = self.files / target, self.folder / "states" / target
        if not state.is_file():
            return
        alone = fcntl.LOCK_EX | fcntl.LOCK_NB
        with (
            suppress(BlockingIOError, FileNotFoundError),
            _locked(state, alone) as old,
            _locked(new_state, alone) as new,
        ):
            known = os.pread(old, _STATE_BYTES, 0)
            if known and not _is_filled(new):
                new_path.parent.mkdir(parents=True, exist_ok=True)
                path.replace(new_path)
                os.pwrite(new, known, 0)
            path.unlink(missing_ok=True)
            state.unlink()

    def draft(self) -> Path:
        """A path for a file of its own on the disk of the cache; nothing is there."""
        folder = self.folder / "partial"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder / secrets.token_hex(16)

    def sweep(self, now: float | None = None) -> int:
        """Remove what processes that were killed left half-fetched. Returns how many files."""
        limit = (time.time() if now is None else now) - _FORGOTTEN_SECONDS
        removed = 0
        for path in (self.folder / "partial").glob("*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < limit:
                    path.unlink()
                    removed += 1
        return removed

    def _fetch(self, path: Path, size: int, fetch: Fetch) -> None:
        self._make_room(size)
        draft = self.draft()
        try:
            try:
                fetch(draft)
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                # The disk holds less than the limit: everything that is not in use goes.
                draft.unlink(missing_ok=True)
                self._make_room(self.limit)
                fetch(draft)
            _check_size(draft, size)
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(path)
        except OSError as error:
            raise PlatformError(
                f"The object {path.relative_to(self.files)} can't be copied to this machine: {error.strerror}."
            ) from error
        finally:
            draft.unlink(missing_ok=True)

    @contextmanager
    def _apart(self, size: int, fetch: Fetch) -> Iterator[Path]:
        """A copy for one use, while another version is in use under the object's own path."""
        draft = self.draft()
        try:
            fetch(draft)
            _check_size(draft, size)
            yield draft
        finally:
            draft.unlink(missing_ok=True)

    def _make_room(self, wanted: int) -> None:
        """Remove what was used longest ago until so many bytes more are within the limit."""
        found = []
        states = self.folder / "states"
        for state in states.rglob("*"):
            with suppress(FileNotFoundError):
                path = self.files / state.relative_to(states)
                if state.is_file() and path.is_file():
                    found.append((state.stat().st_mtime, path.stat().st_size, state, path))
        used = sum(size for _, size, _, _ in found) + wanted
        for _, size, state, path in sorted(found):
            if used <= self.limit:
                return
            with suppress(BlockingIOError), _locked(state, fcntl.LOCK_EX | fcntl.LOCK_NB) as lock:
                os.ftruncate(lock, 0)
                path.unlink(missing_ok=True)
                state.unlink(missing_ok=True)
                used -= size


def _is_copy(lock: int, path: Path, wanted: str, size: int) -> bool:
    if os.pread(lock, _STATE_BYTES, 0) != wanted.encode():
        return False
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _is_filled(lock: int) -> bool:
    return os.fstat(lock).st_size > 0


def _check_size(path: Path, size: int) -> None:
    found = path.stat().st_size
    if found != size:
        raise PlatformError(f"An object of {size} bytes came with {found} bytes from the storage; it is fetched again.")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(path: Path, how: int) -> Iterator[int]:
    """Open the file, made when it is missing, under a lock. Raises BlockingIOError when `how` says not to wait."""
    while True:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, how)
            # The last holder may have removed it.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    yield descriptor
                    return
        finally:
            os.close(descriptor)
