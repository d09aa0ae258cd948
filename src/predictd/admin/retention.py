"""What is old enough to go: logs of runs that ended, and the files of pickles that nobody uses any more.

Rows stay, so that the history of models, runs and submissions is whole; what is gone says so.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db import Database
from predictd.db.models import Model, Pickle, Trigger, TriggerLog
from predictd.db.stored_files import release
from predictd.domain.states import TriggerState, ValidationStatus
from predictd.storage import Storage
from predictd.uploads.fallback import good_pickles

LOG_REMOVED = "[predictd] The log was removed"
_FINAL = [state for state in TriggerState if state.is_final]
_BATCH = 200


@dataclass(frozen=True, kw_only=True)
class Removable:
    """What is old: logs by their trigger, pickles with their filename; sizes in bytes."""

    logs: Sequence[str]
    log_lines: int
    log_bytes: int
    pickles: Sequence[Pickle]
    pickle_bytes: int


def find_removable(
    session: Session, now: datetime, *, logs: timedelta | None = None, pickles: timedelta | None = None
) -> Removable:
    """What is older than so much; None keeps all of that kind.

    A log is as old as the end of its run. A pickle is as old as its upload and its last run; it stays while it is
    assigned, is the one that a model would fall back to, or has a run that has not ended.
    """
    found = [] if logs is None else session.execute(_old_logs(now - logs)).all()
    old = [] if pickles is None else _unused(session, now - pickles)
    return Removable(
        logs=[row.trigger_id for row in found],
        log_lines=sum(row.lines for row in found),
        log_bytes=sum(row.bytes for row in found),
        pickles=old,
        pickle_bytes=sum(pickle.size_bytes for pickle in old),
    )


def remove(
    database: Database,
    storage: Storage,
    now: datetime,
    *,
    logs: timedelta | None = None,
    pickles: timedelta | None = None,
    progress: Callable[[str, float], None],
) -> Removable:
    """Remove it, a batch at a time, and answer what was removed.

    A log becomes one line that says so. A pickle is marked first, in a transaction that looks again whether it is
    unused, and its file goes after that: cut short, the rest goes the next time.
    """
    with database.read() as session:
        found = find_removable(session, now, logs=logs, pickles=pickles)
    for number, some in _batches(found.logs):
        with database.write() as session:
            _remove_logs(session, some, now)
        progress("logs", number / len(found.logs))
    removed: list[Pickle] = []
    for number, some in _batches([pickle.id for pickle in found.pickles]):
        assert pickles is not None
        with database.write() as session:
            unused = _unused(session, now - pickles, some)
            for pickle in unused:
                pickle.removed_at = now
            removed += unused
        progress("pickles", number / len(found.pickles))
    _delete_files(database, storage)
    return Removable(
        logs=found.logs,
        log_lines=found.log_lines,
        log_bytes=found.log_bytes,
        pickles=removed,
        pickle_bytes=sum(pickle.size_bytes for pickle in removed),
    )


def _old_logs(before: datetime) -> sa.Select[tuple[str, int, int]]:
    return (
        sa.select(
            TriggerLog.trigger_id,
            sa.func.count().label("lines"),
            sa.func.coalesce(sa.func.sum(sa.func.length(TriggerLog.message)), 0).label("bytes"),
        )
        .join(Trigger, Trigger.id == TriggerLog.trigger_id)
        .where(Trigger.state.in_(_FINAL), Trigger.updated_at < before, ~TriggerLog.message.startswith(LOG_REMOVED))
        .group_by(TriggerLog.trigger_id)
        .order_by(TriggerLog.trigger_id)
    )


def _remove_logs(session: Session, trigger_ids: Sequence[str], now: datetime) -> None:
    still = session.scalars(
        sa.select(Trigger.id).where(Trigger.id.in_(trigger_ids), Trigger.state.in_(_FINAL)).with_for_update()
    ).all()
    session.execute(sa.delete(TriggerLog).where(TriggerLog.trigger_id.in_(still)))
    told = f"{LOG_REMOVED} on {now:%Y-%m-%d}, because it was old."
    milliseconds = int(now.timestamp() * 1000)
    session.add_all(TriggerLog(trigger_id=one, attempt=0, timestamp=milliseconds, message=told) for one in still)


def _unused(session: Session, before: datetime, among: Sequence[str] | None = None) -> Sequence[Pickle]:
    """The pickles that no model has, needs for falling back, or runs; not run or uploaded since."""
    query = sa.select(Pickle).where(
        Pickle.removed_at.is_(None),
        Pickle.inserted_at < before,
        Pickle.updated_at < before,
        Pickle.takes_slot.is_(False) | (Pickle.validation_status == ValidationStatus.INVALID),
        ~sa.exists().where(Model.pickle_id == Pickle.id),
        ~sa.exists().where(
            Trigger.pickle_id == Pickle.id, Trigger.state.not_in(_FINAL) | (Trigger.updated_at >= before)
        ),
    )
    if among is not None:
        # Locked first and asked about in a further statement, which sees what others did while this one waited.
        session.execute(sa.select(Pickle.id).where(Pickle.id.in_(among)).order_by(Pickle.id).with_for_update())
        query = query.where(Pickle.id.in_(among))
    found = session.scalars(query.order_by(Pickle.inserted_at)).all()
    accounts = {pickle.account_id for pickle in found}
    needed: set[str] = set()
    for model in session.scalars(sa.select(Model).where(Model.account_id.in_(accounts))):
        last_good = good_pickles(model).where(Pickle.id != (model.pickle_id or "")).limit(1)
        needed.update(pickle.id for pickle in session.scalars(last_good))
    return [pickle for pickle in found if pickle.id not in needed]


def _delete_files(database: Database, storage: Storage) -> None:
    """Delete the files of all pickles that are marked, also of those that an earlier call left."""
    there = {one.key for one in storage.objects("pickle")}
    with database.read() as session:
        marked = session.scalars(sa.select(Pickle).where(Pickle.removed_at.is_not(None))).all()
    for pickle in marked:
        if pickle.storage_key in there:
            storage.delete(f"tables/{pickle.id}")
            storage.delete(pickle.storage_key)
            with database.write() as session:
                release(session, filter(None, (pickle.tables_key, pickle.storage_key)))


def _batches(ids: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    for start in range(0, len(ids), _BATCH):
        some = ids[start : start + _BATCH]
        yield start + len(some), some
