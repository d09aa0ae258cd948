"""Finding the triggers whose worker is gone, and putting them back."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd import prometheus
from predictd.db.hooks import after_commit
from predictd.db.models import Trigger
from predictd.domain.reasons import Reason
from predictd.domain.states import CLAIMED, TriggerState, TriggerType
from predictd.jobs.queue import LONGEST_WAIT_SECONDS, Claim
from predictd.uploads.fallback import IsUsable, nothing_is
from predictd.worker.finalize import retry_or_give_up

LOST = Reason(code="worker_lost")


class LeaseWatch:
    """Tells which leases ran out: those that nobody renewed while this watch looked on for their whole length.

    Only the watch's own stopwatch counts. What a lease says of its end was written by another machine's clock, or by
    this one's before it was set, and is good for nothing but to see that it changes.
    """

    def __init__(self, lease_seconds: float, stopwatch: Callable[[], float] = time.monotonic) -> None:
        self._seconds = lease_seconds
        self._stopwatch = stopwatch
        self._looked_at = stopwatch()
        self._seen: dict[str, tuple[tuple[int, datetime | None], float]] = {}

    def recover(self, session: Session, now: datetime, *, max_attempts: int, is_usable: IsUsable = nothing_is) -> int:
        """Look, and put back every trigger whose lease has run out. Returns how many.

        After the last attempt of one, its models fall back to a pickle that `is_usable`.

        Whoever looks less often than once in the length of a lease, as while the database is away, begins anew.
        """
        at = self._stopwatch()
        if at - self._looked_at > self._seconds:
            self._seen = {}
        held = session.execute(
            sa.select(Trigger.id, Trigger.attempt, Trigger.lease_expires_at).where(Trigger.state.in_(CLAIMED))
        ).all()
        before, self._seen, self._looked_at = self._seen, {}, at
        lost = []
        for row in held:
            lease = (row.attempt, row.lease_expires_at)
            known, since = before.get(row.id, (lease, at))
            self._seen[row.id] = (lease, since if known == lease else at)
            if at - self._seen[row.id][1] >= self._seconds:
                lost.append(sa.and_(Trigger.id == row.id, Trigger.attempt == row.attempt, _still(row.lease_expires_at)))
        return _recover(session, sa.or_(*lost), now, max_attempts, is_usable) if lost else 0


def recover_owned(
    session: Session, owner_prefix: str, now: datetime, *, max_attempts: int, is_usable: IsUsable = nothing_is
) -> int:
    """The same for those that an earlier process of this server held when it died."""
    owned = Trigger.lease_owner.startswith(owner_prefix, autoescape=True)
    return _recover(session, owned, now, max_attempts, is_usable)


def bring_forward(session: Session, now: datetime) -> int:
    """Make due what waits for longer than anything is made to wait: it was queued before the clock was set back.

    Returns how many.
    """
    found = session.execute(
        sa.update(Trigger)
        .where(
            Trigger.state == TriggerState.PENDING,
            Trigger.not_before > now + timedelta(seconds=LONGEST_WAIT_SECONDS),
        )
        .values(not_before=now)
        .returning(Trigger.id)
        .execution_options(synchronize_session=False)
    ).all()
    return len(found)


def _still(expires_at: datetime | None) -> sa.ColumnElement[bool]:
    return Trigger.lease_expires_at.is_(None) if expires_at is None else Trigger.lease_expires_at == expires_at


def _recover(
    session: Session, condition: sa.ColumnElement[bool], now: datetime, max_attempts: int, is_usable: IsUsable
) -> int:
    lost = session.execute(
        sa.select(Trigger.id, Trigger.attempt, Trigger.type, Trigger.lease_owner)
        .where(Trigger.state.in_(CLAIMED), condition)
        .with_for_update(skip_locked=True)
    ).all()
    for row in lost:
        claimed = Claim(trigger_id=row.id, attempt=row.attempt, owner=row.lease_owner or "", type=TriggerType(row.type))
        retry_or_give_up(session, claimed, LOST, now, wait_seconds=0, max_attempts=max_attempts, is_usable=is_usable)
    if lost:
        after_commit(session, lambda: prometheus.LEASES_EXPIRED.inc(len(lost)))
    return len(lost)
