"""Create folders and files atomically: they appear complete or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from predictd.domain.errors import ConflictError


@contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder next to `folder`, which is renamed to it on success and removed on failure.

    Raises ConflictError if `folder` exists and is not empty.
    """
    require_vacant(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        yield staging
        # mkdtemp creates private folders, but runs read the data as other users.
        staging.chmod(0o755)
        for path in staging.iterdir():
            _sync(path)
        _sync(staging)
        try:
            staging.rename(folder)
        except OSError:
            require_vacant(folder)
            raise
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """Yield a hidden file next to `path`, which replaces it on success and is removed on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.partial")
    try:
        yield staging
        _sync(staging)
        staging.replace(path)
        _sync(path.parent)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise


def require_vacant(folder: Path) -> None:
    """Raise ConflictError if `folder` exists, unless it is an empty folder."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise ConflictError(f"{folder} already exists. Remove it or choose another folder.")


def _sync(path: Path) -> None:
    """Flush the contents or the entries of `path` to disk, so that they survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
