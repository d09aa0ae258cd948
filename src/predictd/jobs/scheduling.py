"""Which run comes first: whose turn it is, and how long it is expected to take.

What orders the queue is put into the trigger when it is queued, so that taking the next one costs one look into an
index, however many wait.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import IntEnum

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Pickle, Round, Trigger
from predictd.domain.limits import MIB
from predictd.domain.states import ACTIVE, CLAIMED, TriggerState, TriggerType

# Of PostgreSQL, held by whoever claims.
_CLAIMS_LOCK = 738212
# While runs of a round wait, at most one start in so many goes to a validation, and at least that one.
VALIDATION_TURN = 5
_NEWEST_COUNTS = 0.5
_UNKNOWN_SECONDS = 2.0
_UNKNOWN_BYTES_A_SECOND = 20 * MIB


class Priority(IntEnum):
    """What is taken first. `LATE` are runs for a round that can't end before it closes any more."""

    ROUND = 0
    VALIDATION = 10
    LATE = 15
    DIAGNOSTICS = 20


_PRIORITIES = {
    TriggerType.LIVE: Priority.ROUND,
    TriggerType.VALIDATION: Priority.VALIDATION,
    TriggerType.DIAGNOSTICS: Priority.DIAGNOSTICS,
}


def put_in_order(session: Session, trigger: Trigger, pickle: Pickle | None) -> None:
    """Fill in what orders a new trigger: it comes after the runs that its account has in the round, or waiting."""
    kind = TriggerType(trigger.type)
    trigger.priority = _PRIORITIES[kind]
    if pickle is not None:
        trigger.forecast_seconds = forecast(pickle)
    of_the_account = sa.select(sa.func.count()).select_from(Trigger).where(Trigger.account_id == trigger.account_id)
    if kind is TriggerType.LIVE and trigger.round_id is not None:
        trigger.start_by = _start_by(session.get_one(Round, trigger.round_id), trigger.forecast_seconds)
        counted = of_the_account.where(Trigger.round_id == trigger.round_id, Trigger.type == kind)
    else:
        counted = of_the_account.where(Trigger.state.in_(ACTIVE), Trigger.type == kind)
    trigger.rank = session.scalar(counted) or 0


def put_round_in_order(round_: Round, pickles: Sequence[Pickle]) -> list[tuple[Pickle, dict[str, object]]]:
    """The pickles of a round in the order in which they are to run, each with the columns that say so.

    Every account has its first run before any has its second; of one rank the longest comes first.
    """
    ranks: Counter[str] = Counter()
    ordered = []
    for place, pickle in enumerate(sorted(pickles, key=lambda one: (-forecast(one), one.inserted_at, one.id))):
        seconds = forecast(pickle)
        columns: dict[str, object] = {
            "priority": Priority.ROUND,
            "rank": ranks[pickle.account_id],
            "place": place,
            "forecast_seconds": seconds,
            "start_by": _start_by(round_, seconds),
        }
        ranks[pickle.account_id] += 1
        ordered.append((pickle, columns))
    return ordered


def forecast(pickle: Pickle) -> float:
    """How many seconds a run of the pickle is expected to take: as its earlier ones, else by its size."""
    if pickle.forecast_seconds is not None:
        return pickle.forecast_seconds
    return _UNKNOWN_SECONDS + pickle.size_bytes / _UNKNOWN_BYTES_A_SECOND


def learn(session: Session, pickle_id: str, seconds: float) -> None:
    """Take a run that took so long into the forecast of the next, in which the newest counts half."""
    known = sa.func.coalesce(Pickle.forecast_seconds, seconds)
    session.execute(
        sa.update(Pickle)
        .where(Pickle.id == pickle_id)
        .values(forecast_seconds=known * (1 - _NEWEST_COUNTS) + seconds * _NEWEST_COUNTS)
        .execution_options(synchronize_session=False)
    )


def put_late_ones_back(session: Session, now: datetime) -> int:
    """Let runs that can't end before their round closes any more wait for those that can. Returns how many."""
    moved = session.execute(
        sa.update(Trigger)
        .where(*_cannot_be_in_time(now))
        .values(priority=Priority.LATE)
        .returning(Trigger.id)
        .execution_options(synchronize_session=False)
    )
    return len(moved.all())


def are_late_ones(session: Session, now: datetime) -> bool:
    """Whether there is a run that `put_late_ones_back` would move."""
    return session.scalar(sa.select(Trigger.id).where(*_cannot_be_in_time(now)).limit(1)) is not None


def take_turns(session: Session) -> None:
    """Two claims at once would both find room for one more; on SQLite writers take turns anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text(f"SELECT pg_advisory_xact_lock({_CLAIMS_LOCK})"))


def has_room(most: int) -> sa.ColumnElement[bool]:
    """Whether fewer than so many of the account run; diagnostics, which take long, are counted apart."""
    running, is_diagnostics = sa.orm.aliased(Trigger), Trigger.priority == Priority.DIAGNOSTICS

    def full(are_diagnostics: sa.ColumnElement[bool]) -> sa.Select[str | None]:
        return (
            sa.select(running.account_id)
            .where(running.state.in_(CLAIMED), running.account_id.is_not(None), are_diagnostics)
            .group_by(running.account_id)
            .having(sa.func.count() >= most)
        )

    return sa.or_(
        Trigger.account_id.is_(None),
        sa.and_(~is_diagnostics, Trigger.account_id.not_in(full(running.priority != Priority.DIAGNOSTICS))),
        sa.and_(is_diagnostics, Trigger.account_id.not_in(full(running.priority == Priority.DIAGNOSTICS))),
    )


def _cannot_be_in_time(now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return (Trigger.state == TriggerState.PENDING, Trigger.priority == Priority.ROUND, Trigger.start_by < now)


def _start_by(round_: Round, seconds: float | None) -> datetime:
    return round_.close_time - timedelta(seconds=seconds or 0)
