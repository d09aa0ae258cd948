"""Storage in a folder, with URLs that the server itself answers."""

import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from predictd.domain.errors import ConflictError, NotFoundError, OutageError, PlatformError, SetupError
from predictd.domain.outages import is_full
from predictd.storage.atomic_upload import Draft
from predictd.storage.keys import check_key
from predictd.storage.protocol import ABANDONED_SECONDS, Progress, StoredObject
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
        """Open the folder, making it and its secret where they are missing."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        (root / DRAFTS).mkdir(mode=0o700, exist_ok=True)
        return cls(root=root, secret=load_secret(root / ".secret"), base_url=base_url.rstrip("/"))

    @property
    def local_folders(self) -> Sequence[Path]:
        """The folder itself."""
        return (self.root,)

    def at(self, base_url: str) -> "FolderStorage":
        """The same storage with URLs as a client that reached the server at `base_url` needs them."""
        return replace(self, base_url=base_url.rstrip("/"))

    def check(self) -> None:
        """Raise SetupError unless objects can be written."""
        try:
            with self.draft("check") as draft:
                draft.write(b"predictd")
        except OSError as error:
            raise SetupError(
                f"The storage {self.root} can't be written to: {error.strerror}. Give its folder to the user that "
                "predictd runs as, or make room on its disk."
            ) from error

    def folder(self, key: str) -> Path:
        """The folder or file of the key itself."""
        return self.root / check_key(key)

    def stat(self, key: str) -> int | None:
        """Size of the object in bytes, None where there is none."""
        path = self.folder(key)
        return path.stat().st_size if path.is_file() else None

    def draft(self, key: str) -> Draft:
        """Begin to write the object of that key."""
        target = self.folder(key)
        return Draft(self.root / DRAFTS / secrets.token_hex(16), lambda path: _place(path, target))

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """All objects below the prefix, sorted by key; nothing that is being written."""
        below = self.folder(prefix) if prefix else self.root
        for path in sorted(below.rglob("*")):
            parts = path.relative_to(self.root).parts
            if parts[0].startswith(".") or any(part.endswith(".partial") for part in parts):
                continue
            # Somebody may remove it between two of these lines.
            with suppress(FileNotFoundError):
                if path.is_file() and not path.is_symlink():
                    found = path.stat()
                    yield StoredObject(key="/".join(parts), size=found.st_size, modified_at=found.st_mtime)

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

    @contextmanager
    def new_folder(self, key: str, progress: Progress, *, last: str) -> Iterator[Path]:
        """The folder of the key itself: who fills it lets it appear whole.

        Raises:
            ConflictError: it is there already.
        """
        folder = self.folder(key)
        if folder.is_dir() and any(folder.iterdir()):
            raise ConflictError(f"{folder} exists already; remove it first or choose another name.")
        yield folder

    def move(self, source: str, target: str) -> None:
        """Give the object another key.

        Raises:
            NotFoundError: there is no such object.
        """
        path = self.folder(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # As new as its key: what is old and that nothing refers to is swept.
            os.utime(self.folder(source))
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
    def local_folder(self, key: str, names: Collection[str] | None = None) -> Iterator[Path]:
        """The objects below the key as a folder, all of them, to be read only.

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
        return signed_url(self.base_url, self.secret, grant(method, key, expires_at, max_bytes, filename))

    def presign_post(self, key: str, *, max_bytes: int, expires_at: datetime) -> tuple[str, dict[str, str]]:
        """URL and form fields that allow one object to be POSTed as the form's last field, `file`."""
        allowed = grant("POST", key, expires_at, max_bytes, None)
        fields = {"key": key, "expires": str(allowed.expires), "max": str(max_bytes)}
        return f"{self.base_url}/files", fields | {"signature": allowed.sign(self.secret)}

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


def _place(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
    # What is answered for must outlive a power cut, and so must its name.
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
