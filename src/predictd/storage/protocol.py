"""What every storage can do."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object that is there; `modified_at` in seconds since the epoch."""

    key: str
    size_bytes: int
    modified_at: float


class Storage(Protocol):
    """Objects by key. A key is relative, of letters, digits and `. _ - /`; an object appears whole or not at all."""

    def stat(self, key: str) -> int | None:
        """Size of the object in bytes, None where there is none."""

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """All objects whose keys begin with the prefix, in no order; what comes or goes meanwhile may be missing."""

    def put_file(self, key: str, path: Path) -> None:
        """Store a copy of the file under the key, in place of what was there."""

    def move(self, source: str, target: str) -> None:
        """Give the object another key; NotFoundError where there is none."""

    def delete(self, key: str) -> None:
        """Remove the object; harmless where there is none."""

    def local_path(self, key: str) -> AbstractContextManager[Path]:
        """The object as a file on this machine, to be read only; PlatformError where there is none."""

    def local_folder(self, key: str) -> AbstractContextManager[Path]:
        """The objects below the key as a folder on this machine, to be read only."""

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
            max_bytes: largest object that a PUT may bring.
            filename: name under which a browser saves a GET.
        """

    def presign_post(self, key: str, *, max_bytes: int, expires_at: datetime) -> tuple[str, dict[str, str]]:
        """URL and form fields that allow one object to be POSTed as the form's last field, `file`."""
