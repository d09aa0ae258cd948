"""Storage in a bucket of S3: clients send and fetch objects there themselves, by URLs that the server signs."""

import secrets
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import structlog

from predictd.domain.errors import ConflictError, NotFoundError, PlatformError, SetupError
from predictd.storage.atomic_upload import Draft
from predictd.storage.bucket import Bucket
from predictd.storage.cache import ObjectCache
from predictd.storage.keys import check_key
from predictd.storage.protocol import ABANDONED_SECONDS, Progress, StoredObject
from predictd.storage.signing import grant, signed_url

if TYPE_CHECKING:
    from boto3.s3.transfer import TransferConfig
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import CopySourceTypeDef, ObjectTypeDef

log = structlog.get_logger()

INCOMING = "incoming"
# S3 copies and takes up to 5 GiB in one request; what is sent in parts can be sent again part by part.
_COPY_BYTES = 5 << 30
_PART_BYTES = 16 << 20
_MOST_DELETED = 1000


@dataclass(frozen=True, kw_only=True)
class S3Storage:
    """Objects in a bucket.

    A browser sends its uploads to the server, which passes them on: to send them to the bucket, the bucket would have
    to allow that to pages of the server's origin.

    Attributes:
        cache: copies of objects on this machine.
        load_secret: answers the key that signs uploads by way of the server; the same on all servers.
        for_browser: whether URLs are for a browser that has a page of the server open.
    """

    bucket: Bucket
    cache: ObjectCache
    load_secret: Callable[[], bytes]
    for_browser: bool = False

    @property
    def local_folders(self) -> Sequence[Path]:
        """The folder of the copies."""
        return (self.cache.folder,)

    @property
    def secret(self) -> bytes:
        """The key of the signatures of the server's own URLs."""
        return self.load_secret()

    def at(self, base_url: str) -> "S3Storage":
        """The same storage; only for a browser, URLs differ."""
        return replace(self, for_browser=not base_url)

    def check(self) -> None:
        """Raise SetupError unless objects can be written, listed, read and deleted."""
        key = f"checks/{secrets.token_hex(8)}"
        try:
            with TemporaryDirectory(prefix="predictd-") as folder:
                path = Path(folder) / "check"
                path.write_bytes(b"predictd")
                self.put_file(key, path)
                found = [one.key for one in self.objects("checks")]
                size = self.stat(key)
                self.delete(key)
        except PlatformError as error:
            raise SetupError(
                f"The storage {self.bucket.address} (PREDICTD_STORAGE_URL) can't be used. {error.message}"
            ) from error
        if size is None or key not in found:
            raise SetupError(f"The storage {self.bucket.address} does not show what was just written to it.")

    def stat(self, key: str) -> int | None:
        """Size of the object in bytes, None where there is none."""
        found = self._head(key)
        return found[0] if found is not None else None

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """All objects below the prefix, sorted by key."""
        for one in self._list(f"{check_key(prefix)}/" if prefix else ""):
            modified_at = one["LastModified"].timestamp()
            yield StoredObject(key=self._key(one), size=one.get("Size", 0), modified_at=modified_at)

    def put_file(self, key: str, path: Path) -> None:
        """Store a copy of the file under the key, in place of what was there; a large one goes in parts."""
        with self.bucket.errors(), path.open("rb") as file:
            self._client.upload_fileobj(file, self.bucket.name, self._name(key), Config=_in_parts())

    @contextmanager
    def new_folder(self, key: str, progress: Progress, *, last: str) -> Iterator[Path]:
        """A path of this machine at which to make a folder; its files are uploaded when the block ends well.

        Raises:
            ConflictError: there are objects below the key already.
        """
        if self.stat(f"{key}/{last}") is not None:
            raise ConflictError(f"There are objects below {key} already; remove them first or choose another name.")
        self.cache.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="new-", dir=self.cache.folder) as name:
            folder = Path(name) / "folder"
            yield folder
            paths = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.name == last)
            total, done = sum(path.stat().st_size for path in paths), 0
            for path in paths:
                label = f"uploading {path.name}"
                progress(label, done / max(total, 1))
                self.put_file(f"{key}/{path.relative_to(folder).as_posix()}", path)
                done += path.stat().st_size
                progress(label, done / max(total, 1))

    def move(self, source: str, target: str) -> None:
        """Give the object another key: it is copied there as it is now, and then removed here.

        Raises:
            NotFoundError: there is no such object.
        """
        origin: CopySourceTypeDef = {"Bucket": self.bucket.name, "Key": self._name(source)}
        try:
            with self.bucket.errors():
                self._client.copy(origin, self.bucket.name, self._name(target), Config=_in_parts(_COPY_BYTES))
                self._client.delete_object(Bucket=self.bucket.name, Key=self._name(source))
        except NotFoundError as error:
            raise NotFoundError(f"There is no object {source!r}.") from error
        self.cache.moved(source, target)

    def delete(self, key: str) -> None:
        """Remove the object or everything below the key; harmless where there is nothing."""
        for one in self._list(check_key(key)):
            own = self._key(one)
            if own != key and not own.startswith(f"{key}/"):
                continue
            with self.bucket.errors():
                self._client.delete_object(Bucket=self.bucket.name, Key=one["Key"])

    @contextmanager
    def local_path(self, key: str) -> Iterator[Path]:
        """The object as a file of the cache, to be read only.

        Raises:
            PlatformError: there is no such object.
        """
        found = self._head(key)
        if found is None:
            raise PlatformError(f"The object {key} is gone from storage.")
        size, version = found
        with self.cache.held(key, version, size, partial(self._fetch, key)) as path:
            yield path

    @contextmanager
    def local_folder(self, key: str, names: Collection[str] | None = None) -> Iterator[Path]:
        """The objects below the key as a folder of the cache; others than those of `names` may be missing.

        Raises:
            PlatformError: there are none.
        """
        found = list(self._list(f"{check_key(key)}/"))
        if not found:
            raise PlatformError(f"The objects below {key} are gone from storage.")
        with ExitStack() as held:
            for one in found:
                own = self._key(one)
                if names is None or own.removeprefix(f"{key}/") in names:
                    version, size = one.get("ETag", ""), one.get("Size", 0)
                    held.enter_context(self.cache.held(own, version, size, partial(self._fetch, own)))
            folder = self.cache.files / key
            folder.mkdir(parents=True, exist_ok=True)
            yield folder

    def presign(
        self,
        method: str,
        key: str,
        *,
        expires_at: datetime,
        max_bytes: int | None = None,
        filename: str | None = None,
    ) -> str:
        """A URL of the bucket that allows the method on this one object until it expires.

        HEAD takes a URL of its own; a GET of one byte tells the size as well. A browser's PUT goes to the server.
        """
        if self.for_browser and method == "PUT":
            return signed_url("", self.secret, grant(method, key, expires_at, max_bytes, filename))
        parameters = {"Bucket": self.bucket.name, "Key": self._name(key)}
        if filename:
            quoted = filename.replace("\\", "").replace('"', "")
            parameters["ResponseContentDisposition"] = f'attachment; filename="{quoted}"'
            parameters["ResponseContentType"] = "application/octet-stream"
        operation = {"PUT": "put_object", "GET": "get_object"}[method]
        with self.bucket.errors():
            return self.bucket.public_client.generate_presigned_url(
                operation, Params=parameters, ExpiresIn=_seconds_until(expires_at)
            )

    def presign_post(self, key: str, *, max_bytes: int, expires_at: datetime) -> tuple[str, dict[str, str]]:
        """URL and form fields that allow one object of at most `max_bytes` to be POSTed, by S3's own policy."""
        with self.bucket.errors():
            form = self.bucket.public_client.generate_presigned_post(
                self.bucket.name,
                self._name(key),
                Conditions=[["content-length-range", 0, max_bytes]],
                ExpiresIn=_seconds_until(expires_at),
            )
        return form["url"], form["fields"]

    def draft(self, key: str) -> Draft:
        """Begin to write the object of that key on this machine; its commit sends it to the bucket."""
        check_key(key)

        def place(path: Path) -> None:
            self.put_file(key, path)
            path.unlink()

        return Draft(self.cache.draft(), place)

    def sweep(self, now: float | None = None, abandoned_seconds: float = ABANDONED_SECONDS) -> int:
        """Remove unregistered uploads that were left for so long, and what was half-fetched."""
        now = time.time() if now is None else now
        removed = self.cache.sweep(now)
        for one in self._list(f"{INCOMING}/"):
            if one["LastModified"].timestamp() < now - abandoned_seconds:
                with self.bucket.errors():
                    self._client.delete_object(Bucket=self.bucket.name, Key=one["Key"])
                removed += 1
        return removed

    @property
    def _client(self) -> "S3Client":
        return self.bucket.client

    def _name(self, key: str) -> str:
        return self.bucket.prefix + check_key(key)

    def _key(self, one: "ObjectTypeDef") -> str:
        return one.get("Key", "").removeprefix(self.bucket.prefix)

    def _head(self, key: str) -> tuple[int, str] | None:
        """Size and version of the object, None where there is none."""
        try:
            with self.bucket.errors():
                found = self._client.head_object(Bucket=self.bucket.name, Key=self._name(key))
        except NotFoundError:
            return None
        return found["ContentLength"], found["ETag"]

    def _list(self, prefix: str) -> Iterator["ObjectTypeDef"]:
        with self.bucket.errors():
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket.name, Prefix=self.bucket.prefix + prefix):
                yield from page.get("Contents", ())

    def _fetch(self, key: str, path: Path) -> None:
        try:
            with self.bucket.errors():
                self._client.download_file(self.bucket.name, self._name(key), str(path), Config=_in_parts())
        except NotFoundError as error:
            raise PlatformError(f"The object {key} is gone from storage.") from error


def _seconds_until(expires_at: datetime) -> int:
    return max(1, int((expires_at - datetime.now(UTC)).total_seconds()))


def _in_parts(threshold: int = 4 * _PART_BYTES) -> "TransferConfig":
    from boto3.s3.transfer import TransferConfig  # noqa: PLC0415

    return TransferConfig(multipart_threshold=threshold, multipart_chunksize=_PART_BYTES, max_concurrency=4)
