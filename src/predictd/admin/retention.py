"""Retention: deletes old logs of ended runs, and the files of unused pickles.

Rows stay, so that the history of models, runs and submissions is complete.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db import Database
from predictd.db.models import Model, Pickle, Run, RunLog
from predictd.db.stored_files import release
from predictd.domain.states import RunState, ValidationStatus
from predictd.storage import Storage
from predictd.uploads.fallback import select_good_pickles

LOG_REMOVED = "[predictd] The log was removed"
_FINAL = [state for state in RunState if state.is_final]
_BATCH = 200


@dataclass(frozen=True, kw_only=True)
class Expired:
    """Expired logs, by run, and expired pickles, with sizes in bytes."""

    logs: Sequence[str]
    log_lines: int
    log_bytes: int
    pickles: Sequence[Pickle]
    pickle_bytes: int


def find_expired(
    session: Session, now: datetime, *, logs: timedelta | None = None, pickles: timedelta | None = None
) -> Expired:
    """Return logs and pickles older than these ages; None retains all.

    The age of a log counts from the end of its run, that of a pickle from its upload or last run. A pickle is retained
    while it is assigned, is the fallback of a model, or has an active run.
    """
    expired_logs = [] if logs is None else session.execute(_old_logs(now - logs)).all()
    unused = [] if pickles is None else _unused(session, now - pickles)
    return Expired(
        logs=[row.run_id for row in expired_logs],
        log_lines=sum(row.lines for row in expired_logs),
        log_bytes=sum(row.bytes for row in expired_logs),
        pickles=unused,
        pickle_bytes=sum(pickle.size_bytes for pickle in unused),
    )


def remove_expired(
    database: Database,
    storage: Storage,
    now: datetime,
    *,
    logs: timedelta | None = None,
    pickles: timedelta | None = None,
    progress: Callable[[str, float], None],
) -> Expired:
    """Delete expired logs and pickles in batches; return what was deleted.

    A log is replaced by one line. A pickle is marked first, in a transaction that checks again that it is unused, and
    its file is deleted afterwards; after an interruption, the next call deletes the rest.
    """
    with database.read() as session:
        expired = find_expired(session, now, logs=logs, pickles=pickles)
    for number, batch in _batches(expired.logs):
        with database.write() as session:
            _remove_logs(session, batch, now)
        progress("logs", number / len(expired.logs))
    removed: list[Pickle] = []
    for number, batch in _batches([pickle.id for pickle in expired.pickles]):
        assert pickles is not None
        with database.write() as session:
            unused = _unused(session, now - pickles, batch)
            for pickle in unused:
                pickle.removed_at = now
            removed += unused
        progress("pickles", number / len(expired.pickles))
    _delete_files(database, storage)
    return Expired(
        logs=expired.logs,
        log_lines=expired.log_lines,
        log_bytes=expired.log_bytes,
        pickles=removed,
        pickle_bytes=sum(pickle.size_bytes for pickle in removed),
    )


def _old_logs(before: datetime) -> sa.Select[tuple[str, int, int]]:
    return (
        sa.select(
            RunLog.run_id,
            sa.func.count().label("lines"),
            sa.func.coalesce(sa.func.sum(sa.func.length(RunLog.message)), 0).label("bytes"),
        )
        .join(Run, Run.id == RunLog.run_id)
        .where(Run.state.in_(_FINAL), Run.updated_at < before, ~RunLog.message.startswith(LOG_REMOVED))
        .group_by(RunLog.run_id)
        .order_by(RunLog.run_id)
    )


def _remove_logs(session: Session, run_ids: Sequence[str], now: datetime) -> None:
    ended = session.scalars(sa.select(Run.id).where(Run.id.in_(run_ids), Run.state.in_(_FINAL)).with_for_update()).all()
    session.execute(sa.delete(RunLog).where(RunLog.run_id.in_(ended)))
    message = f"{LOG_REMOVED} on {now:%Y-%m-%d}, because it was old."
    milliseconds = int(now.timestamp() * 1000)
    session.add_all(RunLog(run_id=run_id, attempt=0, timestamp=milliseconds, message=message) for run_id in ended)


def _unused(session: Session, before: datetime, among: Sequence[str] | None = None) -> Sequence[Pickle]:
    """Return the pickles that are not assigned, not a fallback, and not used since."""
    query = sa.select(Pickle).where(
        Pickle.removed_at.is_(None),
        Pickle.inserted_at < before,
        Pickle.updated_at < before,
        Pickle.assign_when_validated.is_(False) | (Pickle.validation_status == ValidationStatus.INVALID),
        ~sa.exists().where(Model.pickle_id == Pickle.id),
        ~sa.exists().where(Run.pickle_id == Pickle.id, Run.state.not_in(_FINAL) | (Run.updated_at >= before)),
    )
    if among is not None:
        # Lock first, then query in a second statement, which sees changes committed while this one waited.
        session.execute(sa.select(Pickle.id).where(Pickle.id.in_(among)).order_by(Pickle.id).with_for_update())
        query = query.where(Pickle.id.in_(among))
    candidates = session.scalars(query.order_by(Pickle.inserted_at)).all()
    accounts = {pickle.account_id for pickle in candidates}
    needed: set[str] = set()
    for model in session.scalars(sa.select(Model).where(Model.account_id.in_(accounts))):
        last_good = select_good_pickles(model).where(Pickle.id != (model.pickle_id or "")).limit(1)
        needed.update(pickle.id for pickle in session.scalars(last_good))
    return [pickle for pickle in candidates if pickle.id not in needed]


def _delete_files(database: Database, storage: Storage) -> None:
    """Delete the files of all marked pickles, including those of interrupted calls."""
    stored_keys = {stored.key for stored in storage.objects("pickle")}
    with database.read() as session:
        marked = session.scalars(sa.select(Pickle).where(Pickle.removed_at.is_not(None))).all()
    for pickle in marked:
        if pickle.storage_key in stored_keys:
            storage.delete(f"tables/{pickle.id}")
            storage.delete(pickle.storage_key)
            with database.write() as session:
                release(session, filter(None, (pickle.tables_key, pickle.storage_key)))


def _batches(ids: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        yield start + len(batch), batch
