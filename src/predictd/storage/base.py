"""The interface of every storage."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from predictd.storage.atomic_upload import UploadStorage

ABANDONED_SECONDS = 24 * 3600
Progress = Callable[[str, float], None]
"""Called with the current file and the completed share of the total, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object in a listing; `size` in bytes, `modified_at` in seconds since the epoch."""

    key: str
    size: int
    modified_at: float


class Storage(UploadStorage, Protocol):
    """Objects by key. A key consists of letters, digits and `. _ - /`; objects appear atomically.

    Every method raises PlatformError if the storage fails, and OutageError if the failure may be temporary.
    """

    @property
    def local_folders(self) -> Sequence[Path]:
        """Return the folders of this machine that contain the files of `local_path` and `local_folder`."""

    def with_base_url(self, base_url: str) -> "Storage":
        """Return the same storage with URLs for clients that reach the server at `base_url`.

        Empty means a browser with a page of the server: its uploads go to the origin of the page.
        """

    def check(self) -> None:
        """Raise SetupError unless objects can be written, listed and read."""

    def stat(self, key: str) -> int | None:
        """Return the size of the object in bytes, or None if it does not exist."""

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield all complete objects below the prefix, sorted by key."""

    def put_file(self, key: str, path: Path) -> None:
        """Store a copy of the file under the key, replacing an existing object."""

    def new_folder(self, key: str, progress: Progress, *, last: str) -> AbstractContextManager[Path]:
        """Return a path at which to create a folder, whose files become the objects below the key.

        They are stored when the block ends without error; the file named `last` is stored last, as a sign of
        completeness.

        Raises:
            ConflictError: There are objects below the key already.
        """

    def move(self, source: str, target: str) -> None:
        """Change the key of the object; raise NotFoundError if it does not exist."""

    def delete(self, key: str) -> None:
        """Remove the object or everything below the key; do nothing if it does not exist."""

    def local_path(self, key: str) -> AbstractContextManager[Path]:
        """Return the object as a file that must not be changed; raise PlatformError if it does not exist."""

    def local_folder(self, key: str, names: Collection[str] | None = None) -> AbstractContextManager[Path]:
        """Return the objects below the key as a folder that must not be changed; raise PlatformError if none exist.

        Args:
            names: required files, if they exist; other files may be missing in the folder. None means all.
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
        """Return a URL that allows the method (`PUT`, or `GET` with `HEAD`) on this object until it expires.

        Args:
            max_bytes: size limit of a PUT; S3 can't enforce it, so the size is checked when the object is used.
            filename: name for the downloaded file.
        """

    def presign_post(self, key: str, *, max_bytes: int, expires_at: datetime) -> tuple[str, dict[str, str]]:
        """Return URL and form fields that allow a POST of one object as the last field of the form, `file`."""

    def sweep(self, now: float | None = None, abandoned_seconds: float = ABANDONED_SECONDS) -> int:
        """Remove incomplete and unregistered uploads that are older than this, and return their number."""
