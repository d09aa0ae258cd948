"""Files in storage that nothing refers to: of attempts that were lost, and of what was begun and never finished."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import PurePosixPath

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db import Database
from predictd.db.models import Diagnostics, Pickle, Submission, Trigger
from predictd.db.stored_files import RESERVED, keys_before, release
from predictd.storage import Storage
from predictd.uploads.incoming import INCOMING, UploadKind

# Whose files lie there; what lies elsewhere (the data, the rounds) is nobody's to lose.
_OWNERS: dict[str, sa.orm.InstrumentedAttribute[str] | sa.orm.InstrumentedAttribute[str | None]] = {
    "predictions": Submission.storage_key,
    UploadKind.SUBMISSION: Submission.storage_key,
    UploadKind.DIAGNOSTICS: Diagnostics.storage_key,
    UploadKind.PICKLE: Pickle.storage_key,
    "tables": Pickle.tables_key,
}
_BATCH = 500


def sweep_orphans(database: Database, storage: Storage, before: float) -> int:
    """Delete the files last written before that time (seconds since the epoch) that nothing refers to.

    What is being made is not referred to yet, so the time must lie further back than anything takes to be made. The
    predictions of a run's last attempt are kept, whether or not they were submitted. Returns how many were deleted.
    """
    count = 0
    for prefix in (INCOMING, *_OWNERS):
        old = (one.key for one in storage.objects(prefix) if one.modified_at < before)
        # Read to its end before anything is deleted.
        for keys in list(_batches(old)):
            with database.read() as session:
                orphans = set(keys) - _referred(session, prefix, keys)
            for key in sorted(orphans):
                storage.delete(key)
            with database.write() as session:
                release(session, orphans)
            count += len(orphans)
    _release_lost(database, before)
    return count


def _release_lost(database: Database, before: float) -> None:
    """Stop counting toward accounts what a killed process counted and never wrote, or deleted and still counted."""
    for prefix in (RESERVED, INCOMING, *_OWNERS):
        with database.write() as session:
            keys = keys_before(session, prefix, datetime.fromtimestamp(before, UTC))
            for start in range(0, len(keys), _BATCH):
                batch = keys[start : start + _BATCH]
                release(session, set(batch) - _referred(session, prefix, batch))


def _referred(session: Session, prefix: str, keys: Sequence[str]) -> set[str]:
    if prefix not in _OWNERS:
        return set()
    column = _OWNERS[prefix]
    found = {key for key in session.scalars(sa.select(column).where(column.in_(keys))) if key}
    if prefix == "predictions":
        attempts = {key: _attempt(key) for key in keys}
        newest = sa.select(Trigger.id, Trigger.attempt).where(Trigger.id.in_([one[0] for one in attempts.values()]))
        known = {(row.id, row.attempt) for row in session.execute(newest)}
        found |= {key for key, attempt in attempts.items() if attempt in known}
    return found


def _attempt(key: str) -> tuple[str, int]:
    """Trigger and attempt of a key of `predictions_key`; of any other key, those of none."""
    trigger_id, _, attempt = PurePosixPath(key).stem.rpartition("-")
    return trigger_id, int(attempt) if attempt.isdecimal() else -1


def _batches(keys: Iterable[str]) -> Iterator[Sequence[str]]:
    left = iter(keys)
    while batch := list(islice(left, _BATCH)):
        yield batch
