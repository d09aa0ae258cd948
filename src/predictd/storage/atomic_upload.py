"""Objects on the way in: written beside the others, and placed whole."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol


class Draft:
    """An object that is being written: `commit` makes it appear under its key, without that it leaves nothing.

    Args:
        path: where to write it; nothing is there.
        place: makes the object appear, given that file, which it may move away.
    """

    def __init__(self, path: Path, place: Callable[[Path], None]) -> None:
        self._path = path
        self._place = place
        self._file: BinaryIO = path.open("xb")

    def write(self, content: bytes) -> None:
        """Add bytes at the end."""
        self._file.write(content)

    def commit(self) -> None:
        """Make the object appear, whole and on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._place(self._path)

    def discard(self) -> None:
        """Leave nothing of what was not committed."""
        # Closing writes what is still buffered, which fails once more where the disk is full.
        with suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> "Draft":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


class Receiver(Protocol):
    """A storage whose uploads the server itself can take."""

    @property
    def secret(self) -> bytes:
        """The key of the signatures of its URLs."""

    def draft(self, key: str) -> Draft:
        """Begin to write the object of that key."""
