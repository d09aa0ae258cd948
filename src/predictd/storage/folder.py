"""Storage in a folder, with URLs that the server itself answers."""

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from stat import S_ISREG
from types import TracebackType
from typing import BinaryIO
from urllib.parse import quote, urlencode

from predictd.domain.errors import NotFoundError, OutageError, PlatformError
from predictd.domain.outages import is_full
from predictd.storage.keys import check_key
from predictd.storage.protocol import StoredObject
from predictd.storage.signing import Grant, load_secret

DRAFTS = ".drafts"
INCOMING = "incoming"
ABANDONED_SECONDS = 24 * 3600


class Draft:
    """An object that is being written: `commit` makes it appear under its key, without that it leaves nothing."""

    def __init__(self, path: Path, target: Path) -> None:
        self._path = path
        self._target = target
        self._file: BinaryIO = path.open("xb")

    def write(self, content: bytes) -> None:
        """Add bytes at the end."""
        self._file.write(content)

    def commit(self) -> None:
        """Make the object appear, whole and on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._path.replace(self._target)
        # What is answered for must outlive a power cut, and so must its name.
        folder = os.open(self._target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

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


@dataclass(frozen=True, kw_only=True)
class FolderStorage:
    """Objects as files below `root`; URLs begin with `base_url` and carry an HMAC under `secret`."""

    root: Path
    secret: bytes
    base_url: str

    @classmethod
    def open(cls, root: Path, base_url: str) -> "FolderStorage":
        """Open the folder, making it and its secret where they are missing."""
        (root / DRAFTS).mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(root=root, secret=load_secret(root / ".secret"), base_url=base_url.rstrip("/"))

    def at(self, base_url: str) -> "FolderStorage":
        """The same storage with URLs as a client that reached the server at `base_url` needs them."""
        return replace(self, base_url=base_url.rstrip("/"))

    def folder(self, key: str) -> Path:
        """The folder or file of the key itself, for writing whole data versions in place."""
        return self.root / check_key(key)

    def stat(self, key: str) -> int | None:
        """Size of the object in bytes, None where there is none."""
        path = self.folder(key)
        return path.stat().st_size if path.is_file() else None

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """All objects whose keys begin with the prefix, in no order; what comes or goes meanwhile may be missing."""
        above = self.root / prefix.rpartition("/")[0]
        for path in above.rglob("*"):
            key = path.relative_to(self.root).as_posix()
            if key.startswith(".") or not key.startswith(prefix):
                continue
            with suppress(FileNotFoundError):
                found = path.stat()
                if S_ISREG(found.st_mode):
                    yield StoredObject(key=key, size_bytes=found.st_size, modified_at=found.st_mtime)

    def draft(self, key: str) -> Draft:
        """Begin to write the object of that key."""
        return Draft(self.root / DRAFTS / secrets.token_hex(16), self.folder(key))

    def put_file(self, key: str, path: Path) -> None:
        """Store a copy of the file under the key, in place of what was there."""
        try:
            with self.draft(key) as draft, path.open("rb") as source:
                while chunk := source.read(1 << 20):
                    draft.write(chunk)
                draft.commit()
        except OSError as error:
            if is_full(error):
                raise OutageError("The storage is full.") from error
            raise

    def move(self, source: str, target: str) -> None:
        """Give the object another key.

        Raises:
            NotFoundError: there is no such object.
        """
        path = self.folder(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.folder(source).replace(path)
        except FileNotFoundError as error:
            raise NotFoundError(f"There is no object {source!r}.") from error

    def delete(self, key: str) -> None:
        """Remove the object or everything below the key; harmless where there is nothing."""
        path = self.folder(key)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    @contextmanager
    def local_path(self, key: str) -> Iterator[Path]:
        """The object as a file, to be read only.

        Raises:
            PlatformError: there is no such object.
        """
        path = self.folder(key)
        if not path.is_file():
            raise PlatformError(f"The object {key} is gone from storage.")
        yield path

    @contextmanager
    def local_folder(self, key: str) -> Iterator[Path]:
        """The objects below the key as a folder, to be read only.

        Raises:
            PlatformError: there are none.
        """
        path = self.folder(key)
        if not path.is_dir():
            raise PlatformError(f"The objects below {key} are gone from storage.")
        yield path

    def presign(
        self,
        method: str,
        key: str,
        *,
        expires_at: datetime,
        max_bytes: int | None = None,
        filename: str | None = None,
    ) -> str:
        """A URL that allows the method (`PUT`, or `GET` with `HEAD`) on this one object until it expires."""
        grant = _grant(method, key, expires_at, max_bytes, filename)
        query = {"expires": grant.expires, "max": grant.max_bytes, "name": grant.filename}
        fields = {name: str(value) for name, value in query.items() if value}
        return f"{self.base_url}/files/{quote(key)}?{urlencode(fields | {'signature': grant.sign(self.secret)})}"

    def presign_post(self, key: str, *, max_bytes: int, expires_at: datetime) -> tuple[str, dict[str, str]]:
        """URL and form fields that allow one object to be POSTed as the form's last field, `file`."""
        grant = _grant("POST", key, expires_at, max_bytes, None)
        fields = {"key": key, "expires": str(grant.expires), "max": str(max_bytes)}
        return f"{self.base_url}/files", fields | {"signature": grant.sign(self.secret)}

    def sweep(self, now: float | None = None, abandoned_seconds: float = ABANDONED_SECONDS) -> int:
        """Remove drafts and unregistered uploads that were left for so long. Returns how many."""
        limit = (time.time() if now is None else now) - abandoned_seconds
        removed = 0
        for folder in (self.root / DRAFTS, self.root / INCOMING):
            for path in folder.rglob("*"):
                # A draft may be committed between two of these lines.
                with suppress(FileNotFoundError):
                    if path.is_file() and path.stat().st_mtime < limit:
                        path.unlink()
                        removed += 1
        return removed


def _grant(method: str, key: str, expires_at: datetime, max_bytes: int | None, filename: str | None) -> Grant:
    return Grant(
        method=method,
        key=check_key(key),
        expires=int(expires_at.timestamp()),
        max_bytes=max_bytes or 0,
        filename=filename or "",
    )
