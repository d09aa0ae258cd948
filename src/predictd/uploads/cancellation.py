"""Cancellation of a run by its account or by an admin."""

from datetime import datetime

from sqlalchemy.orm import Session

from predictd.db.models import Account, Pickle, Run
from predictd.domain.errors import ConflictError, NotFoundError
from predictd.domain.failures import ModelFailure
from predictd.domain.states import RunType, ValidationStatus
from predictd.jobs.queue import cancel
from predictd.uploads.fallback import has_succeeded

CANCELLED = "cancelled"
ADMIN = "an admin"


def cancel_run(session: Session, run_id: str, now: datetime, account: Account | None = None) -> Run:
    """Cancel a pending or running run; do nothing if it is already canceled.

    The run ends as Failed with the code `cancelled` and is never retried. A pickle whose validation is canceled becomes
    invalid, unless it was validated before. No fallback runs for a canceled run.

    Args:
        account: the account that cancels; None for an admin, who may cancel any run.

    Raises:
        NotFoundError: there is no such run of this account.
        ConflictError: the run has ended.
    """
    run = session.get(Run, run_id, with_for_update=True, populate_existing=True)
    if run is None or (account is not None and run.account_id != account.id):
        raise NotFoundError(f"Run {run_id[:64]!r} not found.")
    by = account.username if account is not None else ADMIN
    if cancel(session, run, ModelFailure(code=CANCELLED, facts={"by": by}), now):
        if run.type == RunType.VALIDATION:
            _end_validation(session, session.get_one(Pickle, run.pickle_id), now)
    elif run.failure_code != CANCELLED:
        raise ConflictError(f"The run {run.id} can't be canceled because it has already ended ({run.state}).")
    return run


def _end_validation(session: Session, pickle: Pickle, now: datetime) -> None:
    was_validated = has_succeeded(session, pickle)
    pickle.validation_status = ValidationStatus.VALIDATED if was_validated else ValidationStatus.INVALID
    pickle.updated_at = now
    session.flush()
