"""Write and read exports as a folder or a tar file, depending on the name."""

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

_BLOCK_BYTES = 1 << 20
_MAX_NAME = 1000
_ENTRY = struct.Struct("<QQH")
# Enough for some million files.
_INDEX_BYTES = 512 * MIB
_INDEX_SECONDS = 3600


class Writer(Protocol):
    """Writes the files of an export."""

    def add(self, name: str, path: Path) -> FileFacts:
        """Add a copy of the file under this name."""


class Reader(Protocol):
    """Reads the files of an export."""

    def open(self, name: str) -> IO[bytes]:
        """Open the file with this name. Raises InvalidInputError if it does not exist."""


@contextmanager
def open_writer(path: Path) -> Iterator[Writer]:
    """Create an export at this path, a tar file if its name ends with .tar; it appears when the block succeeds.

    Raises:
        ConflictError: The path exists already.
    """
    if path.suffix == ".tar":
        if path.exists():
            raise ConflictError(f"{path} exists already; remove it first or choose another name.")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.partial")
        try:
            with (
                _create_private(temporary) as file,
                tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar,
            ):
                yield _TarWriter(tar)
            _sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return
    with staged_folder(path) as folder:
        yield _FolderWriter(folder)
    # It contains hashes of passwords and tokens.
    path.chmod(0o700)


@contextmanager
def open_reader(path: Path) -> Iterator[Reader]:
    """Open an export. Raises InvalidInputError if the path is not an export."""
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
    """List the regular files of a tar archive: offset, size and name; runs in a parser process."""
    try:
        with tarfile.open(fileobj=files[0], mode="r:") as tar:
            while (member := tar.next()) is not None:
                # Otherwise all members stay in memory.
                tar.members = []  # type: ignore[attr-defined]
                if member.issparse():
                    raise InvalidInputError(f"{name} contains a sparse file ({member.name[:200]}), unlike any export.")
                if member.isfile():
                    text = member.name.encode("utf-8", "surrogateescape")[:_MAX_NAME]
                    yield _ENTRY.pack(member.offset_data, member.size, len(text)) + text
    except (OSError, tarfile.TarError) as error:
        raise InvalidInputError(
            f"{name} can't be read as an export: it is neither a folder nor a complete tar file ({error})."
        ) from error


def read_facts(reader: Reader, name: str) -> FileFacts:
    """Compute size and hash of a file."""
    with reader.open(name) as file:
        digest, size = hashlib.sha256(), 0
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return FileFacts(name=name, size=size, sha256=digest.hexdigest())


@dataclass(frozen=True)
class _FolderWriter:
    folder: Path

    def add(self, name: str, path: Path) -> FileFacts:
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as file, _create_private(target) as copy:
            hashing_reader = _HashingReader(file)
            shutil.copyfileobj(hashing_reader, copy, _BLOCK_BYTES)
        return hashing_reader.facts(name)


@dataclass(frozen=True)
class _TarWriter:
    tar: tarfile.TarFile

    def add(self, name: str, path: Path) -> FileFacts:
        with path.open("rb") as file:
            info = self.tar.gettarinfo(arcname=name, fileobj=file)
            info.mode, info.uid, info.gid, info.uname, info.gname = 0o600, 0, 0, "", ""
            hashing_reader = _HashingReader(file)
            self.tar.addfile(info, hashing_reader)
        return hashing_reader.facts(name)


class _HashingReader:
    """A file that is hashed while it is read."""

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
            raise InvalidInputError(_missing_message(self.folder, name)) from error


class _TarReader:
    def __init__(self, path: Path, file: BinaryIO, index: bytes) -> None:
        self._path = path
        self._descriptor = file.fileno()
        self._sections = _parse_index(index)

    def open(self, name: str) -> IO[bytes]:
        section = self._sections.get(name)
        if section is None:
            raise InvalidInputError(_missing_message(self._path, name))
        return io.BufferedReader(_FileSection(self._descriptor, *section), _BLOCK_BYTES)


def _parse_index(index: bytes) -> dict[str, tuple[int, int]]:
    """Return offset and size of each file by name."""
    sections, position = {}, 0
    while position < len(index):
        offset, size, length = _ENTRY.unpack_from(index, position)
        position += _ENTRY.size + length
        sections[index[position - length : position].decode("utf-8", "replace")] = (offset, size)
    return sections


class _FileSection(io.RawIOBase):
    """A section of an open file."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._remaining = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = os.pread(self._descriptor, min(len(buffer), self._remaining), self._offset)
        buffer[: len(content)] = content
        self._offset += len(content)
        self._remaining -= len(content)
        return len(content)


def _missing_message(path: Path, name: str) -> str:
    return f"{path} has no {name}: it is not an export, or it is incomplete. Use another copy."


def _create_private(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
