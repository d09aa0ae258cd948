"""SHA-256 hashes of objects in storage and of this installation, each computed once.

An object never changes under its key, so later reads are compared with the hash of the first use, or of the
registration of a pickle.
"""

import hashlib
import os
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path

import structlog
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from predictd import __version__
from predictd.db import Database
from predictd.db.models import Pickle
from predictd.db.run_tables import ObjectHash
from predictd.domain.errors import PlatformError
from predictd.domain.run_records import Code, StoredObject
from predictd.storage import Storage

log = structlog.get_logger()

_CACHE_SIZE = 64
_SOURCES = (".py", ".so", ".graphql")


def object_hashes(database: Database, storage: Storage, *keys: str) -> dict[str, StoredObject]:
    """Return the hashes and sizes of the objects at their first use.

    Raises:
        PlatformError: an object does not exist.
    """
    sizes = {key: storage.stat(key) for key in keys}
    with database.read() as session:
        rows = session.scalars(select(ObjectHash).where(ObjectHash.key.in_(keys))).all()
    stored_hashes = {row.key: row for row in rows if row.size_bytes == sizes[row.key]}
    objects = {}
    for key, size in sizes.items():
        if size is None:
            raise PlatformError(f"The object {key} is missing from storage.")
        row = stored_hashes.get(key)
        sha256 = row.sha256 if row is not None else _store_hash(database, storage, key, size)
        objects[key] = StoredObject(key=key, sha256=sha256, size_bytes=size)
    return objects


def hash_pickle(database: Database, storage: Storage, pickle: Pickle) -> None:
    """Hash a newly registered pickle; if this fails, its first run does it."""
    try:
        object_hashes(database, storage, pickle.storage_key)
    except (PlatformError, OSError) as error:
        log.warning("pickle_not_hashed", pickle=pickle.id, error=str(error))


def hash_object(storage: Storage, key: str) -> StoredObject | None:
    """Hash the current content of the object; None if it does not exist."""
    size = storage.stat(key)
    if size is None:
        return None
    with storage.local_path(key) as path:
        return StoredObject(key=key, sha256=sha256_of(path), size_bytes=size)


def sha256_of(path: Path) -> str:
    """Return the hash of a file of any size, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_sha256(path: Path) -> str | None:
    """Return the hash of a local file, cached until it changes; None if it can't be read."""
    try:
        status = path.stat()
        return _sha256(path, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size)
    except OSError:
        return None


@cache
def code_version() -> Code:
    """Return the version and source hash of this predictd."""
    digest = hashlib.sha256()
    root = Path(str(files("predictd")))
    for path in sorted(root.rglob("*"), key=lambda file: file.relative_to(root).parts):
        if path.suffix in _SOURCES:
            content = path.read_bytes()
            digest.update(f"{path.relative_to(root)} {len(content)}\n".encode() + content)
    return Code(version=__version__, source_sha256=digest.hexdigest())


@lru_cache(maxsize=_CACHE_SIZE)
def _sha256(path: Path, *_identity: int) -> str:
    return sha256_of(path)


def _store_hash(database: Database, storage: Storage, key: str, size: int) -> str:
    with storage.local_path(key) as path:
        # Store the size of the hashed file, even if the object was replaced since.
        sha256, size = sha256_of(path), os.stat(path).st_size
    # Another worker may store the same hash concurrently.
    with suppress(IntegrityError), database.write() as session:
        session.merge(ObjectHash(key=key, sha256=sha256, size_bytes=size, inserted_at=datetime.now(UTC)))
    return sha256
