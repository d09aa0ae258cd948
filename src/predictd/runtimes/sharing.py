"""One copy on the disk, and in memory, of each file that several runtimes have in common.

The home of the runtimes holds a pool of files by their content; what a runtime has of it are hard links. So nobody may
write into the files of a runtime: runs see them read-only.
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
    """What `share` found, in bytes: all files together, and those that the disk had before."""

    total: int
    known: int


def share(folder: Path, home: Path) -> Shared:
    """Make every file below `folder` a hard link of the equal file in the pool of `home`, or put it there.

    Several may do so at once. Where the filesystem has no hard links, the files stay as they are. Reads what the pool
    does not have yet as a whole: some 2 s for a GB.
    """
    pool = home / POOL
    known = _inodes(pool)
    total = found = 0
    for path, facts in _files(folder):
        total += facts.st_size
        try:
            # What came as a link from uv's cache may be the very file that another runtime put into the pool.
            if facts.st_ino in known or _link(path, facts, pool):
                found += facts.st_size
        except OSError as error:
            # A file can have some 65,000 links; one more copy of it does no harm.
            if error.errno != errno.EMLINK:
                break
    return Shared(total=total, known=found)


def sweep(home: Path) -> None:
    """Take out of the pool what no runtime has any more."""
    for path, facts in _files(home / POOL):
        if facts.st_nlink == 1:
            # A builder who links it at this moment keeps the file: only its name in the pool goes.
            path.unlink(missing_ok=True)


def _link(path: Path, facts: os.stat_result, pool: Path) -> bool:
    """Share one file; whether the pool had it."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    pooled = pool / digest[:2] / f"{digest[2:]}-{facts.st_mode & 0o777:o}"
    pooled.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, pooled)
    except FileExistsError:
        draft = path.with_name(_DRAFT)
        with suppress(FileNotFoundError):
            # Compared, because somebody may have changed the file since it was named after its content.
            if not filecmp.cmp(path, pooled, shallow=False):
                return False
            os.link(pooled, draft)
            draft.replace(path)
            return True
    return False


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Plain files that hold something."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with suppress(FileNotFoundError):
                facts = path.lstat()
                if stat.S_ISREG(facts.st_mode) and facts.st_size:
                    yield path, facts


def _inodes(pool: Path) -> set[int]:
    found: set[int] = set()
    with suppress(FileNotFoundError):
        for folder in os.scandir(pool):
            found.update(entry.inode() for entry in os.scandir(folder))
    return found
