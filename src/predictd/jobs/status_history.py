"""The history of a trigger, and what the platform says at the end of its log."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import TriggerLog, TriggerStatus
from predictd.domain.failures import ModelFailure
from predictd.domain.states import TriggerState


def record_step(session: Session, trigger_id: str, status: TriggerState, description: str, now: datetime) -> None:
    """Add a step to the history."""
    session.add(TriggerStatus(trigger_id=trigger_id, status=status, description=description, inserted_at=now))
    session.flush()


def newest_step(session: Session, trigger_id: str) -> TriggerStatus:
    """The step that was added last."""
    newest = sa.select(sa.func.max(TriggerStatus.sequence)).where(TriggerStatus.trigger_id == trigger_id)
    return session.get_one(TriggerStatus, session.scalar(newest))


def add_to_history(session: Session, trigger_id: str, more: str) -> None:
    """Say more in the newest step."""
    step = newest_step(session, trigger_id)
    step.description = f"{step.description or ''} {more}".strip()
    session.flush()


def say_in_log(session: Session, trigger_id: str, attempt: int, failure: ModelFailure, now: datetime) -> None:
    """Add why it failed to the log of an attempt that no worker writes to any more."""
    told = f"[predictd] {failure.code}: {failure.describe()}"
    session.add(TriggerLog(trigger_id=trigger_id, attempt=attempt, timestamp=int(now.timestamp() * 1000), message=told))
    session.flush()
