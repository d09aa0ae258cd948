"""Actions of admins on single runs."""

from datetime import datetime

from sqlalchemy.orm import Session

from predictd.db.models import Account, Diagnostics, Trigger
from predictd.domain.errors import ConflictError, NotFoundError
from predictd.domain.reasons import NO_OPEN_ROUND, Reason
from predictd.domain.states import TriggerState
from predictd.jobs.queue import requeue
from predictd.uploads.assignment import check_not_removed


def requeue_run(session: Session, trigger_id: str, now: datetime) -> Trigger:
    """Requeue a run that ended as Error, and reset its failures.

    Raises:
        NotFoundError: there is no such run.
        ConflictError: the run did not end as Error, has nothing to run, or its account is suspended.
    """
    trigger = _find(session, trigger_id)
    if trigger.state != TriggerState.ERROR:
        raise ConflictError("Only a run that ended as Error can be requeued; the owner can run a failed model again.")
    if trigger.statuses and trigger.statuses[-1].code == NO_OPEN_ROUND:
        raise ConflictError("The run ended because no round was open; the next round runs the pickle automatically.")
    if trigger.diagnostics_id and session.get(Diagnostics, trigger.diagnostics_id) is None:
        raise ConflictError("The diagnostics of this run were deleted, so there is nothing to run.")
    account = session.get(Account, trigger.account_id) if trigger.account_id else None
    if account is None or account.suspended_at is not None:
        raise ConflictError("The account of this run is suspended; reactivate it first.")
    if trigger.pickle is not None:
        session.refresh(trigger.pickle, ["removed_at"], with_for_update={"key_share": True, "read": True})
        check_not_removed(trigger.pickle)
    trigger.failures = 0
    requeue(session, trigger, Reason(code="requeued"), now)
    return trigger


def _find(session: Session, trigger_id: str) -> Trigger:
    trigger = session.get(Trigger, trigger_id, with_for_update=True)
    if trigger is None:
        raise NotFoundError(f"There is no run {trigger_id[:64]!r}.")
    return trigger
