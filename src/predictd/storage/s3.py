"""Storage in an S3 bucket: clients transfer objects directly, with URLs that the server signs."""

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
from predictd.file_cache import FileCache
from predictd.storage.atomic_upload import AtomicUpload
from predictd.storage.base import ABANDONED_SECONDS, Progress, StoredObject
from predictd.storage.bucket import Bucket
from predictd.storage.keys import check_key
from predictd.storage.signing import grant, signed_url

if TYPE_CHECKING:
    from boto3.s3.transfer import TransferConfig
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import CopySourceTypeDef, ObjectTypeDef

log = structlog.get_logger()

INCOMING = "incoming"
# S3 accepts up to 5 GiB in one request; the parts of an upload are retried separately.
_COPY_BYTES = 5 << 30
_PART_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class S3Storage:
    """Objects in a bucket.

    A browser sends its uploads to the server, which forwards them: direct uploads would require the bucket to allow
    them for the server's origin (CORS).

    Attributes:
        cache: copies of objects on this machine.
        load_secret: returns the key that signs uploads through the server; the same on all servers.
        for_browser: whether URLs are for a browser with a page of the server.
    """

    bucket: Bucket
    cache: FileCache
    load_secret: Callable[[], bytes]
    for_browser: bool = False

    @property
    def local_folders(self) -> Sequence[Path]:
        """Return the folder of the copies."""
        return (self.cache.folder,)

    @property
    def secret(self) -> bytes:
        """Return the key that signs the server's own URLs."""
        return self.load_secret()

    def with_base_url(self, base_url: str) -> "S3Storage":
        """Return the same storage; URLs differ only for a browser."""
        return replace(self, for_browser=not base_url)

    def check(self) -> None:
        """Raise SetupError unless objects can be written, listed, read and deleted."""
        key = f"checks/{secrets.token_hex(8)}"
        try:
            with TemporaryDirectory(prefix="predictd-") as folder:
                path = Path(folder) / "check"
                path.write_bytes(b"predictd")
                self.put_file(key, path)
                keys = [item.key for item in self.objects("checks")]
                size = self.stat(key)
                self.delete(key)
        except PlatformError as error:
            raise SetupError(
                f"The storage {self.bucket.address} (PREDICTD_STORAGE_URL) can't be used. {error.message}"
            ) from error
        if size is None or key not in keys:
            raise SetupError(f"The storage {self.bucket.address} does not show what was just written to it.")

    def stat(self, key: str) -> int | None:
        """Return the size of the object in bytes, or None if it does not exist."""
        head = self._head(key)
        return head[0] if head is not None else None

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield all objects below the prefix, sorted by key."""
        for item in self._list(f"{check_key(prefix)}/" if prefix else ""):
            modified_at = item["LastModified"].timestamp()
            yield StoredObject(key=self._key(item), size=item.get("Size", 0), modified_at=modified_at)

    def put_file(self, key: str, path: Path) -> None:
        """Store a copy of the file under the key, replacing an existing object; upload a large file in parts."""
        with self.bucket.errors(), path.open("rb") as file:
            self._client.upload_fileobj(file, self.bucket.name, self._name(key), Config=_transfer_config())

    @contextmanager
    def new_folder(self, key: str, progress: Progress, *, last: str) -> Iterator[Path]:
        """Return a path at which to create a folder; its files are uploaded when the block ends without error.

        Raises:
            ConflictError: There are objects below the key already.
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
        """Change the key of the object: copy it and remove the original.

        Raises:
            NotFoundError: The object does not exist.
        """
        copy_source: CopySourceTypeDef = {"Bucket": self.bucket.name, "Key": self._name(source)}
        try:
            with self.bucket.errors():
                self._client.copy(
                    copy_source, self.bucket.name, self._name(target), Config=_transfer_config(_COPY_BYTES)
                )
                self._client.delete_object(Bucket=self.bucket.name, Key=self._name(source))
        except NotFoundError as error:
            raise NotFoundError(f"The object {source!r} does not exist.") from error
        self.cache.rename(source, target)

    def delete(self, key: str) -> None:
        """Remove the object or everything below the key; do nothing if it does not exist."""
        for item in self._list(check_key(key)):
            own_key = self._key(item)
            if own_key != key and not own_key.startswith(f"{key}/"):
                continue
            with self.bucket.errors():
                self._client.delete_object(Bucket=self.bucket.name, Key=item["Key"])

    @contextmanager
    def local_path(self, key: str) -> Iterator[Path]:
        """Return the object as a file of the cache that must not be changed.

        Raises:
            PlatformError: The object does not exist.
        """
        head = self._head(key)
        if head is None:
            raise PlatformError(f"The object {key} is missing in storage.")
        size, version = head
        with self.cache.acquire(key, version, size, partial(self._fetch, key)) as path:
            yield path

    @contextmanager
    def local_folder(self, key: str, names: Collection[str] | None = None) -> Iterator[Path]:
        """Return the objects below the key as a folder of the cache; objects not in `names` may be missing.

        Raises:
            PlatformError: There are no objects below the key.
        """
        items = list(self._list(f"{check_key(key)}/"))
        if not items:
            raise PlatformError(f"The objects below {key} are missing in storage.")
        with ExitStack() as stack:
            for item in items:
                own_key = self._key(item)
                if names is None or own_key.removeprefix(f"{key}/") in names:
                    version, size = item.get("ETag", ""), item.get("Size", 0)
                    stack.enter_context(self.cache.acquire(own_key, version, size, partial(self._fetch, own_key)))
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
        """Return a URL of the bucket that allows the method on this object until it expires.

        HEAD requires its own URL; a GET of one byte returns the size as well. A browser's PUT goes to the server.
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
        """Return URL and form fields that allow a POST of one object of at most `max_bytes`, by an S3 policy."""
        with self.bucket.errors():
            form = self.bucket.public_client.generate_presigned_post(
                self.bucket.name,
                self._name(key),
                Conditions=[["content-length-range", 0, max_bytes]],
                ExpiresIn=_seconds_until(expires_at),
            )
        return form["url"], form["fields"]

    def start_upload(self, key: str) -> AtomicUpload:
        """Start writing the object of this key on this machine; `commit` uploads it to the bucket."""
        check_key(key)

        def publish(path: Path) -> None:
            self.put_file(key, path)
            path.unlink()

        return AtomicUpload(self.cache.temporary_path(), publish)

    def sweep(self, now: float | None = None, abandoned_seconds: float = ABANDONED_SECONDS) -> int:
        """Remove unregistered uploads that are older than this, and partial files of the cache."""
        now = time.time() if now is None else now
        removed = self.cache.sweep(now)
        for item in self._list(f"{INCOMING}/"):
            if item["LastModified"].timestamp() < now - abandoned_seconds:
                with self.bucket.errors():
                    self._client.delete_object(Bucket=self.bucket.name, Key=item["Key"])
                removed += 1
        return removed

    @property
    def _client(self) -> "S3Client":
        return self.bucket.client

    def _name(self, key: str) -> str:
        return self.bucket.prefix + check_key(key)

    def _key(self, item: "ObjectTypeDef") -> str:
        return item.get("Key", "").removeprefix(self.bucket.prefix)

    def _head(self, key: str) -> tuple[int, str] | None:
        """Return size and version of the object, or None if it does not exist."""
        try:
            with self.bucket.errors():
                response = self._client.head_object(Bucket=self.bucket.name, Key=self._name(key))
        except NotFoundError:
            return None
        return response["ContentLength"], response["ETag"]

    def _list(self, prefix: str) -> Iterator["ObjectTypeDef"]:
        with self.bucket.errors():
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket.name, Prefix=self.bucket.prefix + prefix):
                yield from page.get("Contents", ())

    def _fetch(self, key: str, path: Path) -> None:
        try:
            with self.bucket.errors():
                self._client.download_file(self.bucket.name, self._name(key), str(path), Config=_transfer_config())
        except NotFoundError as error:
            raise PlatformError(f"The object {key} is missing in storage.") from error


def _seconds_until(expires_at: datetime) -> int:
    return max(1, int((expires_at - datetime.now(UTC)).total_seconds()))


def _transfer_config(threshold: int = 4 * _PART_BYTES) -> "TransferConfig":
    from boto3.s3.transfer import TransferConfig  # noqa: PLC0415

    return TransferConfig(multipart_threshold=threshold, multipart_chunksize=_PART_BYTES, max_concurrency=4)
