"""Statistics of the queue: pending and running runs, and recent errors of the platform."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from predictd.db.models import Pickle, Run, RunStatus
from predictd.db.stored_files import StoredFile
from predictd.domain.reasons import NO_OPEN_ROUND
from predictd.domain.states import CLAIMED, RunState, RunType

# Errors are searched only in this part of the history, so that the cost stays constant.
_MAX_STATUSES = 50_000

# SQLite accepts only some thousands of parameters in a query.
_BATCH = 500


@dataclass(frozen=True, kw_only=True)
class PendingRuns:
    """The pending runs of a type: their number, how many are due, and when the oldest became due."""

    type: RunType
    count: int
    due: int
    oldest_due_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class WorkerSlot:
    """The server, process and worker that hold a lease."""

    server: str
    pid: str
    slot: str

    @classmethod
    def of(cls, owner: str | None) -> "WorkerSlot":
        """Read `SERVER/PID/SLOT`; missing parts are empty."""
        server, _, rest = (owner or "").partition("/")
        pid, _, slot = rest.partition("/")
        return cls(server=server, pid=pid, slot=slot)


def list_pending(session: Session, now: datetime) -> list[PendingRuns]:
    """Return the pending runs by type, including types without any."""
    is_due = Run.not_before <= now
    rows = session.execute(
        sa.select(
            Run.type,
            sa.func.count(),
            sa.func.sum(sa.case((is_due, 1), else_=0)),
            sa.func.min(sa.case((is_due, Run.not_before))),
        )
        .where(Run.state == RunState.PENDING)
        .group_by(Run.type)
    )
    row_by_type = {row[0]: row for row in rows}
    return [
        PendingRuns(
            type=run_type,
            count=row_by_type[run_type][1] if run_type in row_by_type else 0,
            due=row_by_type[run_type][2] if run_type in row_by_type else 0,
            oldest_due_at=row_by_type[run_type][3] if run_type in row_by_type else None,
        )
        for run_type in RunType
    ]


def list_running(session: Session, limit: int | None = None) -> Sequence[Run]:
    """Return the claimed runs with their pickles, longest running first."""
    query = (
        sa.select(Run)
        .where(Run.state.in_(CLAIMED))
        .order_by(Run.updated_at)
        .options(joinedload(Run.pickle), joinedload(Run.round))
    )
    return session.scalars(query.limit(limit) if limit is not None else query).all()


def count_running(session: Session) -> dict[tuple[str, str], int]:
    """Return the number of claimed runs by server and type."""
    rows = session.execute(
        sa.select(Run.lease_owner, Run.type, sa.func.count())
        .where(Run.state.in_(CLAIMED))
        .group_by(Run.lease_owner, Run.type)
    )
    counts: dict[tuple[str, str], int] = {}
    for owner, kind, count in rows:
        key = (WorkerSlot.of(owner).server, kind)
        counts[key] = counts.get(key, 0) + count
    return counts


def count_runs_by_state(session: Session, round_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return the number of runs by state for each round."""
    rows = session.execute(
        sa.select(Run.round_id, Run.state, sa.func.count())
        .where(Run.round_id.in_(round_ids))
        .group_by(Run.round_id, Run.state)
    )
    counts: dict[str, dict[str, int]] = {round_id: {} for round_id in round_ids}
    for round_id, state, count in rows:
        counts[str(round_id)][state] = count
    return counts


def list_errors(session: Session, limit: int) -> Sequence[tuple[RunStatus, Run]]:
    """Return the newest errors of the platform with their runs."""
    newest = session.scalar(sa.select(sa.func.max(RunStatus.sequence))) or 0
    rows = session.execute(
        sa.select(RunStatus, Run)
        .join(Run, Run.id == RunStatus.run_id)
        .where(
            RunStatus.sequence > newest - _MAX_STATUSES,
            RunStatus.status == RunState.ERROR,
            RunStatus.code != NO_OPEN_ROUND,
        )
        .options(joinedload(Run.pickle))
        .order_by(RunStatus.sequence.desc())
        .limit(limit)
    )
    return [(row[0], row[1]) for row in rows]


def storage_by_account(session: Session, account_ids: Sequence[str]) -> dict[str, int]:
    """Return the bytes that each of the accounts has in storage, as its quota counts them."""
    rows = session.execute(
        sa.select(StoredFile.account_id, sa.func.sum(StoredFile.size_bytes))
        .where(StoredFile.account_id.in_(account_ids))
        .group_by(StoredFile.account_id)
    )
    return dict.fromkeys(account_ids, 0) | {row[0]: int(row[1]) for row in rows}


def newest_states(session: Session, pickle_ids: Sequence[str]) -> dict[str, str | None]:
    """Return the state of the newest run of each pickle except diagnostics runs; None if it never ran."""
    newest = (
        sa.select(Run.state)
        .where(Run.pickle_id == Pickle.id, Run.diagnostics_id.is_(None))
        .order_by(Run.inserted_at.desc())
        .limit(1)
        .correlate(Pickle)
        .scalar_subquery()
    )
    states: dict[str, str | None] = dict.fromkeys(pickle_ids)
    for start in range(0, len(pickle_ids), _BATCH):
        batch = pickle_ids[start : start + _BATCH]
        for pickle_id, state in session.execute(sa.select(Pickle.id, newest).where(Pickle.id.in_(batch))):
            states[pickle_id] = state
    return states
