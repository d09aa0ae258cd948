"""Recovery of runs whose worker is lost."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd import prometheus
from predictd.db.hooks import after_commit
from predictd.db.models import Run
from predictd.domain.reasons import Reason
from predictd.domain.states import CLAIMED, RunState, RunType
from predictd.jobs.queue import MAX_WAIT_SECONDS, Claim
from predictd.uploads.fallback import IsUsable, never_usable
from predictd.worker.finalize import retry_or_give_up

LOST = Reason(code="worker_lost")


class LeaseMonitor:
    """Detects expired leases: those that were not renewed during a full lease period of this monitor.

    Only the monotonic clock of the monitor counts. The stored expiry comes from another clock, or from this clock
    before it was set, and only serves to detect renewals.
    """

    def __init__(self, lease_seconds: float, stopwatch: Callable[[], float] = time.monotonic) -> None:
        self._seconds = lease_seconds
        self._stopwatch = stopwatch
        self._looked_at = stopwatch()
        self._seen: dict[str, tuple[tuple[int, datetime | None], float]] = {}

    def recover(self, session: Session, now: datetime, *, max_attempts: int, is_usable: IsUsable = never_usable) -> int:
        """Requeue every run whose lease has expired; return their number.

        After the last attempt, the models fall back to a pickle that `is_usable`. If calls are further apart than a
        lease, as in an outage, the observation starts again.
        """
        at = self._stopwatch()
        if at - self._looked_at > self._seconds:
            self._seen = {}
        claimed_rows = session.execute(
            sa.select(Run.id, Run.attempt, Run.lease_expires_at).where(Run.state.in_(CLAIMED))
        ).all()
        previous, self._seen, self._looked_at = self._seen, {}, at
        expired = []
        for row in claimed_rows:
            lease = (row.attempt, row.lease_expires_at)
            seen_lease, since = previous.get(row.id, (lease, at))
            self._seen[row.id] = (lease, since if seen_lease == lease else at)
            if at - self._seen[row.id][1] >= self._seconds:
                expired.append(sa.and_(Run.id == row.id, Run.attempt == row.attempt, _still(row.lease_expires_at)))
        return _recover(session, sa.or_(*expired), now, max_attempts, is_usable) if expired else 0


def recover_owned(
    session: Session, owner_prefix: str, now: datetime, *, max_attempts: int, is_usable: IsUsable = never_usable
) -> int:
    """Requeue the runs that an earlier process of this server held."""
    owned = Run.lease_owner.startswith(owner_prefix, autoescape=True)
    return _recover(session, owned, now, max_attempts, is_usable)


def bring_forward(session: Session, now: datetime) -> int:
    """Make runs due that wait longer than the longest delay because the clock was set back; return their number."""
    updated = session.execute(
        sa.update(Run)
        .where(
            Run.state == RunState.PENDING,
            Run.not_before > now + timedelta(seconds=MAX_WAIT_SECONDS),
        )
        .values(not_before=now)
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    ).all()
    return len(updated)


def _still(expires_at: datetime | None) -> sa.ColumnElement[bool]:
    return Run.lease_expires_at.is_(None) if expires_at is None else Run.lease_expires_at == expires_at


def _recover(
    session: Session, condition: sa.ColumnElement[bool], now: datetime, max_attempts: int, is_usable: IsUsable
) -> int:
    lost = session.execute(
        sa.select(Run.id, Run.attempt, Run.type, Run.lease_owner)
        .where(Run.state.in_(CLAIMED), condition)
        .with_for_update(skip_locked=True)
    ).all()
    for row in lost:
        claimed = Claim(run_id=row.id, attempt=row.attempt, owner=row.lease_owner or "", type=RunType(row.type))
        retry_or_give_up(session, claimed, LOST, now, wait_seconds=0, max_attempts=max_attempts, is_usable=is_usable)
    if lost:
        after_commit(session, lambda: prometheus.LEASES_EXPIRED.inc(len(lost)))
    return len(lost)
