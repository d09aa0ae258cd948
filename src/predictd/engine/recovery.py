"""Finding the triggers whose worker is gone, and putting them back."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd import counters
from predictd.db.committed import after_commit
from predictd.db.tables import Trigger
from predictd.domain.states import TriggerState, TriggerType
from predictd.engine.queue import Claim, retry

LOST = "The platform lost the worker that ran the model; this is not the model's fault."


def recover_expired(session: Session, now: datetime, *, max_attempts: int) -> int:
    """Put back every trigger whose lease has run out. Returns how many."""
    return _recover(session, Trigger.lease_expires_at < now, now, max_attempts)


def recover_owned(session: Session, owner_prefix: str, now: datetime, *, max_attempts: int) -> int:
    """Put back every trigger that an earlier process of this server held when it died. Returns how many."""
    return _recover(session, Trigger.lease_owner.startswith(owner_prefix, autoescape=True), now, max_attempts)


def _recover(session: Session, condition: sa.ColumnElement[bool], now: datetime, max_attempts: int) -> int:
    lost = session.execute(
        sa.select(Trigger.id, Trigger.attempt, Trigger.type, Trigger.lease_owner)
        .where(Trigger.state.in_([TriggerState.RUNNING, TriggerState.VALIDATING]), condition)
        .with_for_update(skip_locked=True)
    ).all()
    for row in lost:
        claimed = Claim(trigger_id=row.id, attempt=row.attempt, owner=row.lease_owner or "", type=TriggerType(row.type))
        retry(session, claimed, LOST, now, wait_seconds=0, max_attempts=max_attempts)
    if lost:
        after_commit(session, lambda: counters.LEASES_EXPIRED.inc(len(lost)))
    return len(lost)
