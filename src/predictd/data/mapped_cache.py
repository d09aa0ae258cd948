"""A cache folder of mapped files, each converted once from its parquet file."""

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
"""How long a returned path is not removed before it is opened."""
_ABANDONED_SECONDS = 86_400.0
_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class MappedCache:
    """Mapped files by content, shared by threads and processes.

    Attributes:
        folder: the cache folder, created if missing. It must not contain anything else.
        limit: bytes on disk above which the least recently used files are removed, except files in use.
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
        """Return the mapped file of the parquet file `source`, converted if missing; not removed for a minute.

        `key` identifies the content of `source`, for immutable files; by default the file's path, size, time and inode
        do. `without_targets` is a separate file in which all targets are missing. Returns `source` itself if there is
        not enough disk space: a run can read it too, only slower.

        Raises:
            InvalidInputError: `source` is not parquet, keeps changing, or has targets that cannot be removed.
            PlatformError: there is not enough disk space, and `source` contains private targets.
            FileNotFoundError: `source` does not exist, and there is no key.
        """
        for _ in range(_ATTEMPTS):
            identity = key if key is not None else _identity(source)
            identity += "\0without targets" if without_targets else ""
            path = self.folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:40]}{_SUFFIX}"
            try:
                is_new = self._convert(source, path, progress, without_targets=without_targets)
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                if without_targets:
                    raise PlatformError(f"Not enough disk space to map {source.name}. Free some space.") from error
                return source
            if key is not None or not is_new or identity.startswith(_identity(source)):
                if is_new:
                    self._remove_oldest()
                return path
            path.unlink(missing_ok=True)
        raise InvalidInputError(
            f"{source.name} changed again and again while it was read. Wait until it is written, then try again."
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
        """Yield the path like `path_of`; the file is not removed before the block ends."""
        path = self.path_of(source, key, progress, without_targets=without_targets)
        with path.open("rb") as file:
            with suppress(BlockingIOError):  # only a removal locks exclusively; an open file survives it
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            yield path

    def _convert(self, source: Path, path: Path, progress: Progress | None, *, without_targets: bool) -> bool:
        """Convert the file unless it exists and is complete; return whether it was converted."""
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
                if now - partial.stat().st_mtime > _ABANDONED_SECONDS:
                    partial.unlink()
        entries = []
        for path in self.folder.glob(f"*{_SUFFIX}"):
            with suppress(FileNotFoundError):
                status = path.stat()
                entries.append((status.st_mtime, status.st_blocks * 512, path))
        used = sum(size for _, size, _ in entries)
        for last_use, size, path in sorted(entries):
            if used <= self.limit or now - last_use < _GRACE_SECONDS:
                return
            if _try_remove(path):
                used -= size


def _is_ready(path: Path) -> bool:
    """Return whether the file exists and is complete; if so, update its modification time as its last use."""
    if not is_mapped(path):
        return False
    with suppress(OSError):
        os.utime(path)
        return True
    return False


def _identity(source: Path) -> str:
    status = source.stat()
    return f"{source.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_dev}\0{status.st_ino}"


def _try_remove(path: Path) -> bool:
    """Remove a mapped file unless it is in use or being created; return whether it was removed."""
    try:
        with locked_file(path.with_suffix(".lock"), fcntl.LOCK_EX | fcntl.LOCK_NB), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            path.with_suffix(".lock").unlink(missing_ok=True)
    except (BlockingIOError, FileNotFoundError):
        return False
    return True
