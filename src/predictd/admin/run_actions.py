"""Actions of admins on single runs."""

from datetime import datetime

from sqlalchemy.orm import Session

from predictd.db.models import Account, Diagnostics, Run
from predictd.domain.errors import ConflictError, NotFoundError
from predictd.domain.reasons import NO_OPEN_ROUND, Reason
from predictd.domain.states import RunState
from predictd.jobs.queue import requeue
from predictd.uploads.assignment import check_not_removed


def requeue_run(session: Session, run_id: str, now: datetime) -> Run:
    """Requeue a run that ended as Error, and reset its failures.

    Raises:
        NotFoundError: there is no such run.
        ConflictError: the run did not end as Error, has nothing to run, or its account is suspended.
    """
    run = _find(session, run_id)
    if run.state != RunState.ERROR:
        raise ConflictError("Only a run that ended as Error can be requeued; the owner can run a failed model again.")
    if run.statuses and run.statuses[-1].code == NO_OPEN_ROUND:
        raise ConflictError("The run ended because no round was open; the next round runs the pickle automatically.")
    if run.diagnostics_id and session.get(Diagnostics, run.diagnostics_id) is None:
        raise ConflictError("The diagnostics of this run were deleted, so there is nothing to run.")
    account = session.get(Account, run.account_id) if run.account_id else None
    if account is None or account.suspended_at is not None:
        raise ConflictError("The account of this run is suspended; reactivate it first.")
    if run.pickle is not None:
        session.refresh(run.pickle, ["removed_at"], with_for_update={"key_share": True, "read": True})
        check_not_removed(run.pickle)
    run.failures = 0
    requeue(session, run, Reason(code="requeued"), now)
    return run


def _find(session: Session, run_id: str) -> Run:
    run = session.get(Run, run_id, with_for_update=True)
    if run is None:
        raise NotFoundError(f"There is no run {run_id[:64]!r}.")
    return run
