"""Storage in a folder, with URLs that the server itself serves."""

import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from predictd.domain.errors import ConflictError, NotFoundError, OutageError, PlatformError, SetupError, is_disk_full
from predictd.storage.atomic_upload import AtomicUpload
from predictd.storage.base import ABANDONED_SECONDS, Progress, StoredObject
from predictd.storage.keys import check_key
from predictd.storage.signing import grant, load_secret, signed_url

DRAFTS = ".drafts"
INCOMING = "incoming"


@dataclass(frozen=True, kw_only=True)
class FolderStorage:
    """Objects as files below `root`; URLs begin with `base_url` and carry an HMAC under `secret`."""

    root: Path
    secret: bytes
    base_url: str

    @classmethod
    def open(cls, root: Path, base_url: str) -> "FolderStorage":
        """Open the folder; create it and its secret if missing."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        (root / DRAFTS).mkdir(mode=0o700, exist_ok=True)
        return cls(root=root, secret=load_secret(root / ".secret"), base_url=base_url.rstrip("/"))

    @property
    def local_folders(self) -> Sequence[Path]:
        """Return the folder of the storage."""
        return (self.root,)

    def with_base_url(self, base_url: str) -> "FolderStorage":
        """Return the same storage with URLs for clients that reach the server at `base_url`."""
        return replace(self, base_url=base_url.rstrip("/"))

    def check(self) -> None:
        """Raise SetupError unless objects can be written."""
        try:
            with self.start_upload("check") as upload:
                upload.write(b"predictd")
        except OSError as error:
            raise SetupError(
                f"The storage {self.root} can't be written to: {error.strerror}. Give its folder to the user that "
                "predictd runs as, or make room on its disk."
            ) from error

    def folder(self, key: str) -> Path:
        """Return the folder or file of the key."""
        return self.root / check_key(key)

    def stat(self, key: str) -> int | None:
        """Return the size of the object in bytes, or None if it does not exist."""
        path = self.folder(key)
        return path.stat().st_size if path.is_file() else None

    def start_upload(self, key: str) -> AtomicUpload:
        """Start writing the object of this key."""
        target = self.folder(key)
        return AtomicUpload(self.root / DRAFTS / secrets.token_hex(16), lambda path: _publish(path, target))

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield all complete objects below the prefix, sorted by key."""
        below = self.folder(prefix) if prefix else self.root
        for path in sorted(below.rglob("*")):
            parts = path.relative_to(self.root).parts
            if parts[0].startswith(".") or any(part.endswith(".partial") for part in parts):
                continue
            # The file may be removed concurrently.
            with suppress(FileNotFoundError):
                if path.is_file() and not path.is_symlink():
                    status = path.stat()
                    yield StoredObject(key="/".join(parts), size=status.st_size, modified_at=status.st_mtime)

    def put_file(self, key: str, path: Path) -> None:
        """Store a copy of the file under the key, replacing an existing object."""
        try:
            with self.start_upload(key) as upload, path.open("rb") as source:
                while chunk := source.read(1 << 20):
                    upload.write(chunk)
                upload.commit()
        except OSError as error:
            if is_disk_full(error):
                raise OutageError("The storage is full.") from error
            raise

    @contextmanager
    def new_folder(self, key: str, progress: Progress, *, last: str) -> Iterator[Path]:
        """Return the folder of the key; the caller must create it atomically.

        Raises:
            ConflictError: The folder exists already.
        """
        folder = self.folder(key)
        if folder.is_dir() and any(folder.iterdir()):
            raise ConflictError(f"{folder} exists already; remove it first or choose another name.")
        yield folder

    def move(self, source: str, target: str) -> None:
        """Change the key of the object.

        Raises:
            NotFoundError: The object does not exist.
        """
        path = self.folder(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Refresh its time: old objects without references are removed.
            os.utime(self.folder(source))
            self.folder(source).replace(path)
        except FileNotFoundError as error:
            raise NotFoundError(f"The object {source!r} does not exist.") from error

    def delete(self, key: str) -> None:
        """Remove the object or everything below the key; do nothing if it does not exist."""
        path = self.folder(key)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    @contextmanager
    def local_path(self, key: str) -> Iterator[Path]:
        """Return the object as a file that must not be changed.

        Raises:
            PlatformError: The object does not exist.
        """
        path = self.folder(key)
        if not path.is_file():
            raise PlatformError(f"The object {key} is missing in storage.")
        yield path

    @contextmanager
    def local_folder(self, key: str, names: Collection[str] | None = None) -> Iterator[Path]:
        """Return all objects below the key as a folder that must not be changed.

        Raises:
            PlatformError: The folder does not exist.
        """
        path = self.folder(key)
        if not path.is_dir():
            raise PlatformError(f"The objects below {key} are missing in storage.")
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
        """Return a URL that allows the method (`PUT`, or `GET` with `HEAD`) on this object until it expires."""
        return signed_url(self.base_url, self.secret, grant(method, key, expires_at, max_bytes, filename))

    def presign_post(self, key: str, *, max_bytes: int, expires_at: datetime) -> tuple[str, dict[str, str]]:
        """Return URL and form fields that allow a POST of one object as the last field of the form, `file`."""
        granted = grant("POST", key, expires_at, max_bytes, None)
        fields = {"key": key, "expires": str(granted.expires), "max": str(max_bytes)}
        return f"{self.base_url}/files", fields | {"signature": granted.sign(self.secret)}

    def sweep(self, now: float | None = None, abandoned_seconds: float = ABANDONED_SECONDS) -> int:
        """Remove incomplete and unregistered uploads that are older than this, and return their number."""
        limit = (time.time() if now is None else now) - abandoned_seconds
        removed = 0
        for folder in (self.root / DRAFTS, self.root / INCOMING):
            for path in folder.rglob("*"):
                # The upload may be committed concurrently.
                with suppress(FileNotFoundError):
                    if path.is_file() and path.stat().st_mtime < limit:
                        path.unlink()
                        removed += 1
        return removed


def _publish(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
    # A committed object must survive a power failure, and so must its name.
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
