"""Folders that appear whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from predictd.domain.errors import ConflictError


@contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder beside `folder` to fill; it takes that name when the block ends well and goes when it does not.

    Raises ConflictError when `folder` exists and is not empty.
    """
    refuse_occupied(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        yield staging
        # mkdtemp keeps others out, but runs of models read the data as other users.
        staging.chmod(0o755)
        for path in staging.iterdir():
            _sync(path)
        _sync(staging)
        try:
            staging.rename(folder)
        except OSError:
            refuse_occupied(folder)
            raise
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """A hidden file beside `path` to write; it replaces `path` when the block ends well and goes when it does not."""
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


def refuse_occupied(folder: Path) -> None:
    """Raise ConflictError when something is at `folder` already, an empty folder apart."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise ConflictError(f"{folder} exists already; remove it first or choose another folder.")


def _sync(path: Path) -> None:
    """Make the bytes or the entries of `path` last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
