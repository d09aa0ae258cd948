"""The status history of a run, and the line that the platform adds at the end of its log."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import TriggerLog, TriggerStatus
from predictd.domain.failures import ModelFailure
from predictd.domain.reasons import Reason
from predictd.domain.states import TriggerState


def record_step(session: Session, trigger_id: str, status: TriggerState, reason: Reason, now: datetime) -> None:
    """Add a step to the history."""
    session.add(
        TriggerStatus(trigger_id=trigger_id, status=status, code=reason.code, facts=reason.row_facts, inserted_at=now)
    )
    session.flush()


def newest_step(session: Session, trigger_id: str) -> TriggerStatus:
    """The step that was added last."""
    newest = sa.select(sa.func.max(TriggerStatus.sequence)).where(TriggerStatus.trigger_id == trigger_id)
    return session.get_one(TriggerStatus, session.scalar(newest))


def add_notes(session: Session, trigger_id: str, notes: Sequence[Reason]) -> None:
    """Add notes to the reason of the newest step."""
    step = newest_step(session, trigger_id)
    reason = step.reason
    set_reason(step, replace(reason, notes=(*reason.notes, *notes)))
    session.flush()


def set_reason(step: TriggerStatus, reason: Reason) -> None:
    """Replace the reason of a step."""
    step.code, step.facts = reason.code, reason.row_facts


def log_failure(session: Session, trigger_id: str, attempt: int, failure: ModelFailure, now: datetime) -> None:
    """Add the reason of a failure to the log of an attempt that no worker writes to any more."""
    message = f"[predictd] {failure.code}: {failure.describe()}"
    milliseconds = int(now.timestamp() * 1000)
    session.add(TriggerLog(trigger_id=trigger_id, attempt=attempt, timestamp=milliseconds, message=message))
    session.flush()
