"""The order of the queue: fair turns between accounts, and run time forecasts.

The sort keys are stored in the run when it is queued, so that claiming the next run is one index lookup, however
long the queue is.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import IntEnum

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Pickle, Round, Run
from predictd.domain.limits import MIB
from predictd.domain.states import ACTIVE, CLAIMED, RunState, RunType

# Key of the PostgreSQL advisory lock that claims hold.
_CLAIMS_LOCK = 738212
# While round runs are pending, exactly one in this many claims prefers a validation.
VALIDATION_INTERVAL = 5
_NEWEST_WEIGHT = 0.5
_DEFAULT_SECONDS = 2.0
_DEFAULT_BYTES_PER_SECOND = 20 * MIB


class Priority(IntEnum):
    """Priorities, lowest first. `LATE` is for round runs that can no longer end before the round closes."""

    ROUND = 0
    VALIDATION = 10
    LATE = 15
    DIAGNOSTICS = 20


_PRIORITIES = {
    RunType.LIVE: Priority.ROUND,
    RunType.VALIDATION: Priority.VALIDATION,
    RunType.DIAGNOSTICS: Priority.DIAGNOSTICS,
}


def set_queue_order(session: Session, run: Run, pickle: Pickle | None) -> None:
    """Set the sort keys of a new run: it ranks after the runs of its account in the round, or in the queue."""
    run_type = RunType(run.type)
    run.priority = _PRIORITIES[run_type]
    if pickle is not None:
        run.forecast_seconds = forecast(pickle)
    account_runs = sa.select(sa.func.count()).select_from(Run).where(Run.account_id == run.account_id)
    if run_type is RunType.LIVE and run.round_id is not None:
        run.start_by = _start_by(session.get_one(Round, run.round_id), run.forecast_seconds)
        counted = account_runs.where(Run.round_id == run.round_id, Run.type == run_type)
    else:
        counted = account_runs.where(Run.state.in_(ACTIVE), Run.type == run_type)
    run.rank = session.scalar(counted) or 0


def order_round(round_: Round, pickles: Sequence[Pickle]) -> list[tuple[Pickle, dict[str, object]]]:
    """Return the pickles of a round with their sort keys.

    Every account gets its first run before any gets its second; within a rank, the longest run comes first.
    """
    ranks: Counter[str] = Counter()
    ordered = []
    for position, pickle in enumerate(
        sorted(pickles, key=lambda pickle: (-forecast(pickle), pickle.inserted_at, pickle.id))
    ):
        seconds = forecast(pickle)
        columns: dict[str, object] = {
            "priority": Priority.ROUND,
            "rank": ranks[pickle.account_id],
            "position": position,
            "forecast_seconds": seconds,
            "start_by": _start_by(round_, seconds),
        }
        ranks[pickle.account_id] += 1
        ordered.append((pickle, columns))
    return ordered


def forecast(pickle: Pickle) -> float:
    """Return the expected seconds of a run of the pickle, from earlier runs or from its size."""
    if pickle.forecast_seconds is not None:
        return pickle.forecast_seconds
    return _DEFAULT_SECONDS + pickle.size_bytes / _DEFAULT_BYTES_PER_SECOND


def update_forecast(session: Session, pickle_id: str, seconds: float) -> None:
    """Update the moving average of the run time of a pickle, in which the newest run counts half."""
    forecast_seconds = sa.func.coalesce(Pickle.forecast_seconds, seconds)
    session.execute(
        sa.update(Pickle)
        .where(Pickle.id == pickle_id)
        .values(forecast_seconds=forecast_seconds * (1 - _NEWEST_WEIGHT) + seconds * _NEWEST_WEIGHT)
        .execution_options(synchronize_session=False)
    )


def deprioritize_late_runs(session: Session, now: datetime) -> int:
    """Deprioritize runs that can no longer end before their round closes; return their number."""
    moved = session.execute(
        sa.update(Run)
        .where(*_is_late(now))
        .values(priority=Priority.LATE)
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    )
    return len(moved.all())


def has_late_runs(session: Session, now: datetime) -> bool:
    """Return whether `deprioritize_late_runs` would change any run."""
    return session.scalar(sa.select(Run.id).where(*_is_late(now)).limit(1)) is not None


def lock_claims(session: Session) -> None:
    """Serialize claims, which could otherwise exceed the account limit together; SQLite serializes writers anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text(f"SELECT pg_advisory_xact_lock({_CLAIMS_LOCK})"))


def is_below_account_limit(max_runs: int) -> sa.ColumnElement[bool]:
    """Return the condition that the account has fewer active runs; diagnostics runs are counted separately."""
    running, is_diagnostics = sa.orm.aliased(Run), Run.priority == Priority.DIAGNOSTICS

    def accounts_at_limit(are_diagnostics: sa.ColumnElement[bool]) -> sa.Select[str | None]:
        return (
            sa.select(running.account_id)
            .where(running.state.in_(CLAIMED), running.account_id.is_not(None), are_diagnostics)
            .group_by(running.account_id)
            .having(sa.func.count() >= max_runs)
        )

    return sa.or_(
        Run.account_id.is_(None),
        sa.and_(~is_diagnostics, Run.account_id.not_in(accounts_at_limit(running.priority != Priority.DIAGNOSTICS))),
        sa.and_(is_diagnostics, Run.account_id.not_in(accounts_at_limit(running.priority == Priority.DIAGNOSTICS))),
    )


def _is_late(now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return (Run.state == RunState.PENDING, Run.priority == Priority.ROUND, Run.start_by < now)


def _start_by(round_: Round, seconds: float | None) -> datetime:
    return round_.close_time - timedelta(seconds=seconds or 0)
