"""Caches that only make later runs faster: compiled trees, imported modules, ids of live data."""

import functools
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import structlog
from sqlalchemy.exc import SQLAlchemyError

from predictd.data import read_ids
from predictd.db import Database
from predictd.db.models import Pickle, Run
from predictd.db.stored_files import charge
from predictd.domain.errors import BusyError, LimitReachedError, PlatformError
from predictd.domain.quotas import Quotas
from predictd.domain.runs import RunReport
from predictd.storage import Storage
from predictd.trees.compiled import VERSION
from predictd.uploads.quota_checks import check_disk

log = structlog.get_logger()

NO_TREES = ""
TABLE_BYTES = 1 << 20
TABLE_RATIO = 8
_HASH_CACHE_SIZE = 256


@contextmanager
def cached_tables(storage: Storage, key: str | None) -> Iterator[Path | None]:
    """Open the compiled tables with this key; None if they are missing or damaged, so that the run creates them."""
    sha256 = tables_hash(key)
    if not key or not sha256:
        yield None
        return
    with ExitStack() as stack:
        path = None
        try:
            path = stack.enter_context(storage.local_path(key))
        except PlatformError:
            log.warning("tables_missing", key=key)
        if path is not None and not _is_whole(path, sha256):
            log.error("tables_damaged", key=key)
            path = None
        yield path


def tables_hash(key: str | None) -> str:
    """Return the SHA-256 of the tables with this key, in hex; empty if this version can't read them."""
    version, _, sha256 = (key or "").rpartition("/")[2].partition("-")
    return sha256 if version == str(VERSION) else ""


def invalidate_tables(database: Database, run_id: str) -> None:
    """Discard the compiled tables of the pickle of the run."""
    with database.write() as session:
        pickle = session.get_one(Run, run_id).pickle
        if pickle is not None and pickle.tables_key:
            pickle.tables_key = None


def store_run_cache(
    database: Database, storage: Storage, pickle_id: str, report: RunReport, quotas: Quotas, *, asked_for_tables: bool
) -> None:
    """Store the reusable outputs of a run; `asked_for_tables` is whether tables were requested.

    Tables count toward the account's storage; those that are too large for their pickle, the account's quota or the
    disk are not stored. Without them the next run is only slower.
    """
    try:
        _store_run_cache(database, storage, pickle_id, report, quotas, asked_for_tables=asked_for_tables)
    except (SQLAlchemyError, OSError, PlatformError) as error:
        log.warning("run_cache_not_stored", pickle=pickle_id, error=str(error).splitlines()[0][:300])


def _store_run_cache(
    database: Database, storage: Storage, pickle_id: str, report: RunReport, quotas: Quotas, *, asked_for_tables: bool
) -> None:
    key = NO_TREES
    if report.tables and asked_for_tables:
        key = _store_tables(database, storage, pickle_id, report.tables, quotas)
    with database.read() as session:
        stored = session.get_one(Pickle, pickle_id)
        imports = " ".join(report.imports)
        if stored.imports == imports and (not asked_for_tables or stored.tables_key == key):
            return
    with database.write() as session:
        pickle = session.get_one(Pickle, pickle_id)
        pickle.imports = imports
        if asked_for_tables:
            pickle.tables_key = key


def max_table_bytes(pickle_bytes: int) -> int:
    """Return the most bytes that compiled tables of a pickle of that size may have.

    Tables take less than the trees that they are compiled from, which a pickle may hold compressed.
    """
    return TABLE_BYTES + TABLE_RATIO * pickle_bytes


def _store_tables(database: Database, storage: Storage, pickle_id: str, tables: IO[bytes], quotas: Quotas) -> str:
    """Store the tables and return their key, or `NO_TREES` where they are more than may be stored."""
    path = Path(tables.name)
    size = path.stat().st_size
    with path.open("rb") as file:
        key = f"tables/{pickle_id}/{VERSION}-{hashlib.file_digest(file, 'sha256').hexdigest()}"
    try:
        with database.write() as session:
            pickle = session.get_one(Pickle, pickle_id)
            max_bytes = max_table_bytes(pickle.size_bytes)
            if size > max_bytes:
                raise LimitReachedError(
                    f"The tables have {size} bytes, and at most {max_bytes} are stored for a pickle of its size."
                )
            check_disk(storage, quotas.free_bytes, size)
            charge(session, pickle.account_id, key, size, datetime.now(UTC), quota_bytes=quotas.storage_bytes)
    except (LimitReachedError, BusyError) as error:
        log.warning("tables_not_stored", pickle=pickle_id, error=error.message)
        return NO_TREES
    storage.put_file(key, path)
    return key


def ids_of(live: Path) -> list[str]:
    """Return the ids of a file of live data in row order."""
    return _ids(live, live.stat().st_mtime_ns, live.stat().st_ino)


@functools.lru_cache(maxsize=4)
def _ids(live: Path, _changed: int, _file: int) -> list[str]:
    return read_ids(live)


def _is_whole(path: Path, sha256: str) -> bool:
    """Return whether the file has this SHA-256, cached until the file changes."""
    status = path.stat()
    return _sha256(path, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size) == sha256


@functools.lru_cache(maxsize=_HASH_CACHE_SIZE)
def _sha256(path: Path, *_identity: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
