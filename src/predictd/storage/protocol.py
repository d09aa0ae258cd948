"""What every storage can do."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from predictd.storage.atomic_upload import Receiver

ABANDONED_SECONDS = 24 * 3600
Progress = Callable[[str, float], None]
"""Told the file at hand and how much of the whole is done, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """One object as a listing tells it; the size in bytes, `modified_at` in seconds since the epoch."""

    key: str
    size: int
    modified_at: float


class Storage(Receiver, Protocol):
    """Objects by key. A key is relative, of letters, digits and `. _ - /`; an object appears whole or not at all.

    Every method raises PlatformError when the storage itself fails, OutageError if that may be over in a moment.
    """

    @property
    def local_folders(self) -> Sequence[Path]:
        """The folders of this machine that `local_path` and `local_folder` answer files of."""

    def at(self, base_url: str) -> "Storage":
        """The same storage with URLs as a client that reached the server at `base_url` needs them.

        Empty means a browser that has a page of the server open: what it uploads goes to the page's own origin.
        """

    def check(self) -> None:
        """Raise SetupError unless objects can be written, listed and read."""

    def stat(self, key: str) -> int | None:
        """Size of the object in bytes, None where there is none."""

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """All objects below the prefix, sorted by key; nothing that is being written."""

    def put_file(self, key: str, path: Path) -> None:
        """Store a copy of the file under the key, in place of what was there."""

    def new_folder(self, key: str, progress: Progress, *, last: str) -> AbstractContextManager[Path]:
        """A path of this machine at which to make a folder, whose files are the objects below the key afterwards.

        They are stored when the block ends well, and the file named `last` after all others, so that it says that they
        are complete.

        Raises:
            ConflictError: there are objects below the key already.
        """

    def move(self, source: str, target: str) -> None:
        """Give the object another key; NotFoundError where there is none."""

    def delete(self, key: str) -> None:
        """Remove the object or everything below the key; harmless where there is nothing."""

    def local_path(self, key: str) -> AbstractContextManager[Path]:
        """The object as a file on this machine, to be read only; PlatformError where there is none."""

    def local_folder(self, key: str, names: Collection[str] | None = None) -> AbstractContextManager[Path]:
        """The objects below the key as a folder on this machine, to be read only; PlatformError where there are none.

        Args:
            names: those that are needed, as far as they are there; others may be missing. None means all.
        """

    def presign(
        self,
        method: str,
        key: str,
        *,
        expires_at: datetime,
        max_bytes: int | None = None,
        filename: str | None = None,
    ) -> str:
        """A URL that allows the method (`PUT`, or `GET` with `HEAD`) on this one object until it expires.

        Args:
            max_bytes: largest object that a PUT may bring; S3 can't enforce it, so who takes the object checks it.
            filename: name under which a browser saves a GET.
        """

    def presign_post(self, key: str, *, max_bytes: int, expires_at: datetime) -> tuple[str, dict[str, str]]:
        """URL and form fields that allow one object to be POSTed as the form's last field, `file`."""

    def sweep(self, now: float | None = None, abandoned_seconds: float = ABANDONED_SECONDS) -> int:
        """Remove drafts and unregistered uploads that were left for so long. Returns how many."""
