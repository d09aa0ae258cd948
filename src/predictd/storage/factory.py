"""The storage that a URL names."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from predictd.domain.errors import InvalidInputError
from predictd.storage.bucket import Bucket
from predictd.storage.cache import ObjectCache
from predictd.storage.folder import FolderStorage
from predictd.storage.protocol import Storage
from predictd.storage.s3 import S3Storage


def open_storage(url: str, *, home: Path, base_url: str, cache_bytes: int, load_secret: Callable[[], bytes]) -> Storage:
    """Open the storage; a folder is made where it is missing, a bucket is not asked yet.

    Args:
        url: `s3://BUCKET/PREFIX?endpoint=…&region=…`, `file:///FOLDER`, or empty for the folder in the data dir.
        home: the data dir.
        base_url: where clients reach the server.
        cache_bytes: disk for copies of remote objects.
        load_secret: answers the signing key that all servers of a bucket share.

    Raises:
        InvalidInputError: the URL can't be taken.
        OSError: the folder can't be used.
    """
    scheme = urlsplit(url).scheme
    if not url:
        return FolderStorage.open(home / "storage", base_url=base_url)
    if scheme == "file":
        parts = urlsplit(url)
        folder = Path(unquote(parts.path))
        if parts.netloc or not folder.is_absolute() or folder == Path("/"):
            raise InvalidInputError("PREDICTD_STORAGE_URL can't be taken: write a folder as file:///path/to/folder.")
        return FolderStorage.open(folder, base_url=base_url)
    if scheme == "s3":
        cache = ObjectCache(folder=home / "objects", limit=cache_bytes)
        return S3Storage(bucket=Bucket.parse(url), cache=cache, load_secret=load_secret)
    raise InvalidInputError(
        f"PREDICTD_STORAGE_URL can't be taken: {scheme or 'nothing'}:// is no storage that predictd knows. Write "
        "s3://BUCKET/PREFIX or file:///path/to/folder, or leave it empty for the folder in the data dir."
    )
