"""A folder or a tar file that an export is written to and read from; which one, its name says."""

import hashlib
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from predictd.archive.manifest import FileFacts
from predictd.data.staging import staged_folder
from predictd.domain.errors import ConflictError, InvalidInputError

_BLOCK = 1 << 20


class Writer(Protocol):
    """Takes the files of an export."""

    def add(self, name: str, path: Path) -> FileFacts:
        """Copy a file in under that name."""


class Reader(Protocol):
    """Answers the files of an export."""

    def open(self, name: str) -> IO[bytes]:
        """The file of that name; InvalidInputError when there is none."""


@contextmanager
def written(path: Path) -> Iterator[Writer]:
    """A new export at that path, a tar file if its name ends so; it appears when the block ends well.

    Raises:
        ConflictError: there is something at the path already.
    """
    if path.suffix == ".tar":
        if path.exists():
            raise ConflictError(f"{path} exists already; remove it first or choose another name.")
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}.partial")
        try:
            with _private(draft) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                yield _TarWriter(tar)
            _sync(draft)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        return
    with staged_folder(path) as folder:
        yield _FolderWriter(folder)
    # It holds the hashes of passwords and tokens.
    path.chmod(0o700)


@contextmanager
def opened(path: Path) -> Iterator[Reader]:
    """An export to read; InvalidInputError when there is none at the path."""
    if path.is_dir():
        yield _FolderReader(path)
        return
    with ExitStack() as stack:
        try:
            tar = stack.enter_context(tarfile.open(path, "r:"))
        except (OSError, tarfile.TarError) as error:
            raise InvalidInputError(
                f"{path} can't be read as an export: it is neither a folder nor a whole tar file ({error})."
            ) from error
        yield _TarReader(path, tar)


def facts_of(reader: Reader, name: str) -> FileFacts:
    """Size and hash of a file as they are."""
    with reader.open(name) as file:
        digest, size = hashlib.sha256(), 0
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return FileFacts(name=name, size=size, sha256=digest.hexdigest())


@dataclass(frozen=True)
class _FolderWriter:
    folder: Path

    def add(self, name: str, path: Path) -> FileFacts:
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as file, _private(target) as copy:
            hashing = _Hashing(file)
            shutil.copyfileobj(hashing, copy, _BLOCK)
        return hashing.facts(name)


@dataclass(frozen=True)
class _TarWriter:
    tar: tarfile.TarFile

    def add(self, name: str, path: Path) -> FileFacts:
        with path.open("rb") as file:
            info = self.tar.gettarinfo(arcname=name, fileobj=file)
            info.mode, info.uid, info.gid, info.uname, info.gname = 0o600, 0, 0, "", ""
            hashing = _Hashing(file)
            self.tar.addfile(info, hashing)
        return hashing.facts(name)


class _Hashing:
    """A file that is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._size = 0

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._digest.update(block)
        self._size += len(block)
        return block

    def facts(self, name: str) -> FileFacts:
        return FileFacts(name=name, size=self._size, sha256=self._digest.hexdigest())


@dataclass(frozen=True)
class _FolderReader:
    folder: Path

    def open(self, name: str) -> IO[bytes]:
        path = self.folder / name
        try:
            return path.open("rb")
        except OSError as error:
            raise InvalidInputError(_lacking(self.folder, name)) from error


class _TarReader:
    def __init__(self, path: Path, tar: tarfile.TarFile) -> None:
        self._path = path
        self._tar = tar
        try:
            self._members = {member.name: member for member in tar if member.isfile()}
        except (tarfile.TarError, OSError) as error:
            raise InvalidInputError(f"{path} is cut short or damaged: {error}.") from error

    def open(self, name: str) -> IO[bytes]:
        member = self._members.get(name)
        file = self._tar.extractfile(member) if member is not None else None
        if file is None:
            raise InvalidInputError(_lacking(self._path, name))
        return file


def _lacking(where: Path, name: str) -> str:
    return f"{where} lacks {name}: it is no export, or not a whole one. Take another copy of it."


def _private(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
