"""The status history of a run, and the failure message at the end of its log."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import RunLog, RunStatus
from predictd.domain.failures import ModelFailure
from predictd.domain.reasons import Reason
from predictd.domain.states import RunState


def add_status(session: Session, run_id: str, status: RunState, reason: Reason, now: datetime) -> None:
    """Add an entry to the history."""
    session.add(RunStatus(run_id=run_id, status=status, code=reason.code, facts=reason.row_facts, inserted_at=now))
    session.flush()


def newest_status(session: Session, run_id: str) -> RunStatus:
    """Return the newest entry."""
    newest = sa.select(sa.func.max(RunStatus.sequence)).where(RunStatus.run_id == run_id)
    return session.get_one(RunStatus, session.scalar(newest))


def add_notes(session: Session, run_id: str, notes: Sequence[Reason]) -> None:
    """Add notes to the reason of the newest entry."""
    entry = newest_status(session, run_id)
    reason = entry.reason
    set_reason(entry, replace(reason, notes=(*reason.notes, *notes)))
    session.flush()


def set_reason(entry: RunStatus, reason: Reason) -> None:
    """Replace the reason of an entry."""
    entry.code, entry.facts = reason.code, reason.row_facts


def log_failure(session: Session, run_id: str, attempt: int, failure: ModelFailure, now: datetime) -> None:
    """Append a failure to the log of an attempt that has no worker."""
    message = f"[predictd] {failure.code}: {failure.describe()}"
    milliseconds = int(now.timestamp() * 1000)
    session.add(RunLog(run_id=run_id, attempt=attempt, timestamp=milliseconds, message=message))
    session.flush()
