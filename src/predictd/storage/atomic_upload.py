"""Write an object to a temporary file and publish it under its key when it is complete."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol


class AtomicUpload:
    """An object that is being written; it appears under its key on `commit` and is discarded otherwise.

    Args:
        path: where to write it; does not exist yet.
        publish: stores the complete file under the key; may move it.
    """

    def __init__(self, path: Path, publish: Callable[[Path], None]) -> None:
        self._path = path
        self._publish = publish
        self._file: BinaryIO = path.open("xb")

    def write(self, content: bytes) -> None:
        """Append bytes."""
        self._file.write(content)

    def commit(self) -> None:
        """Sync the complete object to disk and publish it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._publish(self._path)

    def discard(self) -> None:
        """Remove the file unless it was committed."""
        # Closing flushes the buffer, which fails again if the disk is full.
        with suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> "AtomicUpload":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


class UploadStorage(Protocol):
    """A storage that accepts uploads through the server."""

    @property
    def secret(self) -> bytes:
        """Return the key that signs its URLs."""

    def start_upload(self, key: str) -> AtomicUpload:
        """Start writing the object of this key."""
