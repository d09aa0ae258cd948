"""Store objects by key behind presigned URLs (pickles, submissions, data files), in a folder or an S3 bucket.

Nothing here interprets the content of objects.
"""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from predictd.domain.errors import InvalidInputError
from predictd.file_cache import FileCache
from predictd.storage.atomic_upload import AtomicUpload, UploadStorage
from predictd.storage.base import Storage, StoredObject
from predictd.storage.bucket import Bucket
from predictd.storage.folder import FolderStorage
from predictd.storage.s3 import S3Storage

__all__ = ["AtomicUpload", "FolderStorage", "Storage", "StoredObject", "UploadStorage", "open_storage"]


def open_storage(url: str, *, home: Path, base_url: str, cache_bytes: int, load_secret: Callable[[], bytes]) -> Storage:
    """Open the storage; create a missing folder, but send no request to a bucket.

    Args:
        url: `s3://BUCKET/PREFIX?endpoint=…&region=…`, `file:///FOLDER`, or empty for the folder in the data dir.
        home: the data dir.
        base_url: address of the server for clients.
        cache_bytes: disk space for copies of remote objects.
        load_secret: returns the signing key that all servers of a bucket share.

    Raises:
        InvalidInputError: The URL is invalid.
        OSError: The folder can't be used.
    """
    scheme = urlsplit(url).scheme
    if not url:
        return FolderStorage.open(home / "storage", base_url=base_url)
    if scheme == "file":
        parts = urlsplit(url)
        folder = Path(unquote(parts.path))
        if parts.netloc or not folder.is_absolute() or folder == Path("/"):
            raise InvalidInputError("PREDICTD_STORAGE_URL is invalid: write a folder as file:///path/to/folder.")
        return FolderStorage.open(folder, base_url=base_url)
    if scheme == "s3":
        cache = FileCache(folder=home / "objects", limit=cache_bytes)
        return S3Storage(bucket=Bucket.parse(url), cache=cache, load_secret=load_secret)
    raise InvalidInputError(
        f"PREDICTD_STORAGE_URL is invalid: unknown scheme {scheme!r}. Use "
        "s3://BUCKET/PREFIX or file:///path/to/folder, or leave it empty for the folder in the data dir."
    )
