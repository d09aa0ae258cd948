"""A folder or a tar file that an export is written to and read from; which one, its name says."""

import hashlib
import io
import os
import shutil
import struct
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol

from predictd.backup.manifest import FileFacts
from predictd.data.atomic_write import staged_folder
from predictd.domain.errors import ConflictError, InvalidInputError
from predictd.domain.limits import MIB
from predictd.parsing import ParserLimits, parse_confined

_BLOCK = 1 << 20
_MOST_NAME = 1000
_ENTRY = struct.Struct("<QQH")
# Of some million files.
_INDEX_BYTES = 512 * MIB
_INDEX_SECONDS = 3600


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
    limits = ParserLimits(memory_bytes=2 * _INDEX_BYTES, result_bytes=_INDEX_BYTES, seconds=_INDEX_SECONDS)
    try:
        index = parse_confined(index_tar, [path], limits, {"name": str(path)})
        file = path.open("rb")
    except OSError as error:
        raise InvalidInputError(f"{path} can't be read as an export: {error.strerror}.") from error
    with file:
        yield _TarReader(path, file, index)


def index_tar(files: list[BinaryIO], name: str) -> Iterator[bytes]:
    """List the plain files of a tar, in the process that calls this: where each begins, its size and its name."""
    try:
        with tarfile.open(fileobj=files[0], mode="r:") as tar:
            while (member := tar.next()) is not None:
                # Else all members stay in memory.
                tar.members = []  # type: ignore[attr-defined]
                if member.issparse():
                    raise InvalidInputError(f"{name} holds a sparse file ({member.name[:200]}), which no export does.")
                if member.isfile():
                    text = member.name.encode("utf-8", "surrogateescape")[:_MOST_NAME]
                    yield _ENTRY.pack(member.offset_data, member.size, len(text)) + text
    except (OSError, tarfile.TarError) as error:
        raise InvalidInputError(
            f"{name} can't be read as an export: it is neither a folder nor a whole tar file ({error})."
        ) from error


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
    def __init__(self, path: Path, file: BinaryIO, index: bytes) -> None:
        self._path = path
        self._descriptor = file.fileno()
        self._places = _places(index)

    def open(self, name: str) -> IO[bytes]:
        place = self._places.get(name)
        if place is None:
            raise InvalidInputError(_lacking(self._path, name))
        return io.BufferedReader(_Part(self._descriptor, *place), _BLOCK)


def _places(index: bytes) -> dict[str, tuple[int, int]]:
    """Offset and size of each file by its name."""
    places, at = {}, 0
    while at < len(index):
        offset, size, length = _ENTRY.unpack_from(index, at)
        at += _ENTRY.size + length
        places[index[at - length : at].decode("utf-8", "replace")] = (offset, size)
    return places


class _Part(io.RawIOBase):
    """A part of an open file."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = os.pread(self._descriptor, min(len(buffer), self._left), self._offset)
        buffer[: len(content)] = content
        self._offset += len(content)
        self._left -= len(content)
        return len(content)


def _lacking(where: Path, name: str) -> str:
    return f"{where} lacks {name}: it is no export, or not a whole one. Take another copy of it."


def _private(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
