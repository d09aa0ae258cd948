"""The SHA-256 of objects in storage and of this installation's own files, each computed once.

An object never changes under its key, so that what was found at its first use, of a pickle at its registration, is what
a later look is compared with.
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
from predictd.domain.records import Code, StoredObject
from predictd.storage import Storage

log = structlog.get_logger()

_FILES_KEPT = 64
_SOURCES = (".py", ".so", ".graphql")


def hashed(database: Database, storage: Storage, *keys: str) -> dict[str, StoredObject]:
    """What the objects of these keys hold, as was found when each was first asked about.

    Raises:
        PlatformError: there is no such object.
    """
    sizes = {key: storage.stat(key) for key in keys}
    with database.read() as session:
        rows = session.scalars(select(ObjectHash).where(ObjectHash.key.in_(keys))).all()
    known = {row.key: row for row in rows if row.size_bytes == sizes[row.key]}
    found = {}
    for key, size in sizes.items():
        if size is None:
            raise PlatformError(f"The object {key} is gone from storage.")
        row = known.get(key)
        sha256 = row.sha256 if row is not None else _keep(database, storage, key, size)
        found[key] = StoredObject(key=key, sha256=sha256, size_bytes=size)
    return found


def hash_pickle(database: Database, storage: Storage, pickle: Pickle) -> None:
    """Compute the hash of a pickle that was just registered; what fails here, its first run meets again."""
    try:
        hashed(database, storage, pickle.storage_key)
    except (PlatformError, OSError) as error:
        log.warning("pickle_not_hashed", pickle=pickle.id, error=str(error))


def measured(storage: Storage, key: str) -> StoredObject | None:
    """What the object holds now, whatever was found before; None where there is none."""
    size = storage.stat(key)
    if size is None:
        return None
    with storage.local_path(key) as path:
        return StoredObject(key=key, sha256=sha256_of(path), size_bytes=size)


def sha256_of(path: Path) -> str:
    """Of a file of any size, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_once(path: Path) -> str | None:
    """Of a file of this machine, computed again when it has changed; None where it can't be read."""
    try:
        found = path.stat()
        return _sha256(path, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size)
    except OSError:
        return None


@cache
def this_code() -> Code:
    """The predictd that runs here."""
    found = hashlib.sha256()
    root = Path(str(files("predictd")))
    for path in sorted(root.rglob("*"), key=lambda one: one.relative_to(root).parts):
        if path.suffix in _SOURCES:
            content = path.read_bytes()
            found.update(f"{path.relative_to(root)} {len(content)}\n".encode() + content)
    return Code(version=__version__, source_sha256=found.hexdigest())


@lru_cache(maxsize=_FILES_KEPT)
def _sha256(path: Path, *_identity: int) -> str:
    return sha256_of(path)


def _keep(database: Database, storage: Storage, key: str, size: int) -> str:
    with storage.local_path(key) as path:
        # What was measured is what is kept, also if another object has been put there since.
        sha256, size = sha256_of(path), os.stat(path).st_size
    # Another worker may be as quick, and find the same.
    with suppress(IntegrityError), database.write() as session:
        session.merge(ObjectHash(key=key, sha256=sha256, size_bytes=size, inserted_at=datetime.now(UTC)))
    return sha256
