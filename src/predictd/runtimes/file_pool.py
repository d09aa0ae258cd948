"""Store files that several runtimes have in common once, on disk and in memory.

The home of the runtimes has a pool of files by content, and runtimes contain hard links to it. So the files of a
runtime must not be changed: runs see them read-only.
"""

import errno
import filecmp
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

POOL = ".files"
_DRAFT = ".predictd-link"


@dataclass(frozen=True, kw_only=True)
class Shared:
    """The result of `share` in bytes: all files, and those that were in the pool before."""

    total: int
    existing: int


def share(folder: Path, home: Path) -> Shared:
    """Replace every file below `folder` with a hard link to the equal file in the pool of `home`, or add it to the
    pool.

    Safe to call concurrently. Without hard links in the filesystem, the files stay unchanged. Reads files that are not
    in the pool completely: about 2 s per GB.
    """
    pool = home / POOL
    pool_inodes = _inodes(pool)
    total = existing = 0
    for path, facts in _files(folder):
        total += facts.st_size
        try:
            # A link from uv's cache may already be the file that another runtime added to the pool.
            if facts.st_ino in pool_inodes or _link(path, facts, pool):
                existing += facts.st_size
        except OSError as error:
            # A file can have about 65,000 links; another copy is harmless.
            if error.errno != errno.EMLINK:
                break
    return Shared(total=total, existing=existing)


def sweep(home: Path) -> None:
    """Remove files from the pool that no runtime uses."""
    for path, facts in _files(home / POOL):
        if facts.st_nlink == 1:
            # A builder that links it at this moment keeps the file: only its name in the pool is removed.
            path.unlink(missing_ok=True)


def _link(path: Path, facts: os.stat_result, pool: Path) -> bool:
    """Share one file; return whether the pool already had it."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    pooled = pool / digest[:2] / f"{digest[2:]}-{facts.st_mode & 0o777:o}"
    pooled.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, pooled)
    except FileExistsError:
        draft = path.with_name(_DRAFT)
        with suppress(FileNotFoundError):
            # Compared, because the pooled file may have changed since it was named after its content.
            if not filecmp.cmp(path, pooled, shallow=False):
                return False
            os.link(pooled, draft)
            draft.replace(path)
            return True
    return False


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield regular files that are not empty."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with suppress(FileNotFoundError):
                facts = path.lstat()
                if stat.S_ISREG(facts.st_mode) and facts.st_size:
                    yield path, facts


def _inodes(pool: Path) -> set[int]:
    inodes: set[int] = set()
    with suppress(FileNotFoundError):
        for folder in os.scandir(pool):
            inodes.update(entry.inode() for entry in os.scandir(folder))
    return inodes
