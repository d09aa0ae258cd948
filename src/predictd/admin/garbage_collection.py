"""Garbage collection of unreferenced files: outputs of lost attempts and unfinished uploads."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import PurePosixPath

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db import Database
from predictd.db.models import Diagnostics, Pickle, Run, Submission
from predictd.db.stored_files import RESERVED, keys_before, release
from predictd.storage import Storage
from predictd.uploads.incoming import INCOMING, UploadKind

# The columns that refer to the files of a prefix; files under other prefixes (data, rounds) are never deleted.
_OWNERS: dict[str, sa.orm.InstrumentedAttribute[str] | sa.orm.InstrumentedAttribute[str | None]] = {
    "predictions": Submission.storage_key,
    UploadKind.SUBMISSION: Submission.storage_key,
    UploadKind.DIAGNOSTICS: Diagnostics.storage_key,
    UploadKind.PICKLE: Pickle.storage_key,
    "tables": Pickle.tables_key,
}
_BATCH = 500


def delete_orphans(database: Database, storage: Storage, before: float) -> int:
    """Delete unreferenced files last written before this time (seconds since the epoch); return their number.

    New files are not referenced yet, so the time must be longer ago than any upload or run takes. The predictions of
    the last attempt of a run are retained even if they were not submitted.
    """
    count = 0
    for prefix in (INCOMING, *_OWNERS):
        old = (stored.key for stored in storage.objects(prefix) if stored.modified_at < before)
        # List all keys before deleting any.
        for keys in list(_batches(old)):
            with database.read() as session:
                orphans = set(keys) - _referenced_keys(session, prefix, keys)
            for key in sorted(orphans):
                storage.delete(key)
            with database.write() as session:
                release(session, orphans)
            count += len(orphans)
    _release_orphans(database, before)
    return count


def _release_orphans(database: Database, before: float) -> None:
    """Delete the quota entries of files that a killed process never wrote or already deleted."""
    for prefix in (RESERVED, INCOMING, *_OWNERS):
        with database.write() as session:
            keys = keys_before(session, prefix, datetime.fromtimestamp(before, UTC))
            for start in range(0, len(keys), _BATCH):
                batch = keys[start : start + _BATCH]
                release(session, set(batch) - _referenced_keys(session, prefix, batch))


def _referenced_keys(session: Session, prefix: str, keys: Sequence[str]) -> set[str]:
    if prefix not in _OWNERS:
        return set()
    column = _OWNERS[prefix]
    referenced = {key for key in session.scalars(sa.select(column).where(column.in_(keys))) if key}
    if prefix == "predictions":
        attempts = {key: _attempt(key) for key in keys}
        newest = sa.select(Run.id, Run.attempt).where(Run.id.in_([attempt_key[0] for attempt_key in attempts.values()]))
        current = {(row.id, row.attempt) for row in session.execute(newest)}
        referenced |= {key for key, attempt in attempts.items() if attempt in current}
    return referenced


def _attempt(key: str) -> tuple[str, int]:
    """Return the run and attempt of a key of `predictions_key`; attempt -1 for other keys."""
    run_id, _, attempt = PurePosixPath(key).stem.rpartition("-")
    return run_id, int(attempt) if attempt.isdecimal() else -1


def _batches(keys: Iterable[str]) -> Iterator[Sequence[str]]:
    remaining = iter(keys)
    while batch := list(islice(remaining, _BATCH)):
        yield batch
