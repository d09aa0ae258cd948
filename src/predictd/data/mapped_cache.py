"""A folder of mapped files, each converted once from its parquet file and kept while there is room."""

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from predictd.data.mapping import Progress, is_mapped, map_parquet
from predictd.domain.errors import InvalidInputError, PlatformError
from predictd.file_cache import locked_file

_SUFFIX = ".map"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_GRACE_SECONDS = 60.0
"""How long a path that was given is safe before it is opened."""
_FORGOTTEN_SECONDS = 86_400.0
_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class MappedCache:
    """Mapped files by content, shared by any number of threads and processes.

    Attributes:
        folder: where they lie; made when needed. Nothing else may lie there.
        limit: bytes on the disk beyond which those that were used longest ago are removed, except those in use.
    """

    folder: Path
    limit: int = 40 * 10**9

    def path_of(
        self,
        source: Path,
        key: str | None = None,
        progress: Progress | None = None,
        *,
        without_targets: bool = False,
    ) -> Path:
        """The mapped file of the parquet file `source`, converted if there is none; safe from removal for a minute.

        `key` names the content of `source`, for files that never change under it; without it, the file's path, size,
        time and inode do. `without_targets` is a file of its own, in which all targets are missing. Answers `source`
        itself when the disk has no room for the mapped file: a run reads it too, only slower.

        Raises:
            InvalidInputError: `source` is no parquet file, changes all the time, or has targets that can't be left out.
            PlatformError: the disk has no room, and `source` holds targets that nobody may see.
            FileNotFoundError: there is no `source`, and no key.
        """
        for _ in range(_ATTEMPTS):
            named = key if key is not None else _identity(source)
            named += "\0without targets" if without_targets else ""
            path = self.folder / f"{hashlib.sha256(named.encode()).hexdigest()[:40]}{_SUFFIX}"
            try:
                made = self._make(source, path, progress, without_targets=without_targets)
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                if without_targets:
                    raise PlatformError(f"The disk has no room to map {source.name}; make room on it.") from error
                return source
            if key is not None or not made or named.startswith(_identity(source)):
                if made:
                    self._remove_oldest()
                return path
            path.unlink(missing_ok=True)
        raise InvalidInputError(
            f"{source.name} changed each time it was read; wait until it is written, then try again."
        )

    @contextmanager
    def held(
        self,
        source: Path,
        key: str | None = None,
        progress: Progress | None = None,
        *,
        without_targets: bool = False,
    ) -> Iterator[Path]:
        """The same, and the file is not removed before the block ends, however long that takes."""
        path = self.path_of(source, key, progress, without_targets=without_targets)
        with path.open("rb") as file:
            with suppress(BlockingIOError):  # only one who removes it excludes others; an open file outlives that
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            yield path

    def _make(self, source: Path, path: Path, progress: Progress | None, *, without_targets: bool) -> bool:
        """Convert unless it is there and whole; whether it was converted."""
        if _is_ready(path):
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked_file(path.with_suffix(".lock"), fcntl.LOCK_EX):
            if _is_ready(path):
                return False
            for partial in self.folder.glob(f".{path.name}.*.partial"):
                partial.unlink(missing_ok=True)
            map_parquet(source, path, progress, without_targets=without_targets)
        return True

    def _remove_oldest(self) -> None:
        now = time.time()
        for partial in self.folder.glob(".*.partial"):
            with suppress(FileNotFoundError):
                if now - partial.stat().st_mtime > _FORGOTTEN_SECONDS:
                    partial.unlink()
        found = []
        for path in self.folder.glob(f"*{_SUFFIX}"):
            with suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime, status.st_blocks * 512, path))
        used = sum(size for _, size, _ in found)
        for last_use, size, path in sorted(found):
            if used <= self.limit or now - last_use < _GRACE_SECONDS:
                return
            if _removed(path):
                used -= size


def _is_ready(path: Path) -> bool:
    """Whether the file is there and whole; if so, this is its last use, kept as its time of modification."""
    if not is_mapped(path):
        return False
    with suppress(OSError):
        os.utime(path)
        return True
    return False


def _identity(source: Path) -> str:
    status = source.stat()
    return f"{source.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_dev}\0{status.st_ino}"


def _removed(path: Path) -> bool:
    """Remove a mapped file unless somebody holds or makes it."""
    try:
        with locked_file(path.with_suffix(".lock"), fcntl.LOCK_EX | fcntl.LOCK_NB), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            path.with_suffix(".lock").unlink(missing_ok=True)
    except (BlockingIOError, FileNotFoundError):
        return False
    return True
