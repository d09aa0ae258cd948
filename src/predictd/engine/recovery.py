"""Finding the triggers whose worker is gone, and putting them back."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd import counters
from predictd.db.committed import after_commit
from predictd.db.tables import Trigger
from predictd.domain.states import TriggerState, TriggerType
from predictd.engine.fallback import IsUsable, nothing_is
from predictd.engine.outcome import retry_or_give_up
from predictd.engine.queue import Claim

LOST = "The platform lost the worker that ran the model; this is not the model's fault."


def recover_expired(session: Session, now: datetime, *, max_attempts: int, is_usable: IsUsable = nothing_is) -> int:
    """Put back every trigger whose lease has run out. Returns how many.

    After the last attempt of one, its models fall back to a pickle that `is_usable`.
    """
    return _recover(session, Trigger.lease_expires_at < now, now, max_attempts, is_usable)


def recover_owned(
    session: Session, owner_prefix: str, now: datetime, *, max_attempts: int, is_usable: IsUsable = nothing_is
) -> int:
    """The same for those that an earlier process of this server held when it died."""
    owned = Trigger.lease_owner.startswith(owner_prefix, autoescape=True)
    return _recover(session, owned, now, max_attempts, is_usable)


def _recover(
    session: Session, condition: sa.ColumnElement[bool], now: datetime, max_attempts: int, is_usable: IsUsable
) -> int:
    lost = session.execute(
        sa.select(Trigger.id, Trigger.attempt, Trigger.type, Trigger.lease_owner)
        .where(Trigger.state.in_([TriggerState.RUNNING, TriggerState.VALIDATING]), condition)
        .with_for_update(skip_locked=True)
    ).all()
    for row in lost:
        claimed = Claim(trigger_id=row.id, attempt=row.attempt, owner=row.lease_owner or "", type=TriggerType(row.type))
        retry_or_give_up(session, claimed, LOST, now, wait_seconds=0, max_attempts=max_attempts, is_usable=is_usable)
    if lost:
        after_commit(session, lambda: counters.LEASES_EXPIRED.inc(len(lost)))
    return len(lost)
