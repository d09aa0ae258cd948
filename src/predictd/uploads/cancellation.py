"""Cancellation of a run by its account or by an admin."""

from datetime import datetime

from sqlalchemy.orm import Session

from predictd.db.models import Account, Pickle, Trigger
from predictd.domain.errors import ConflictError, NotFoundError
from predictd.domain.failures import ModelFailure
from predictd.domain.states import TriggerType, ValidationStatus
from predictd.jobs.queue import cancel
from predictd.uploads.fallback import has_succeeded

CANCELLED = "cancelled"
ADMIN = "an admin"


def cancel_run(session: Session, trigger_id: str, now: datetime, account: Account | None = None) -> Trigger:
    """Cancel a pending or running run; do nothing if it is already canceled.

    The run ends as Failed with the code `cancelled` and is never retried. A pickle whose validation is canceled becomes
    invalid, unless it was validated before. No fallback runs for a canceled run.

    Args:
        account: the account that cancels; None for an admin, who may cancel any run.

    Raises:
        NotFoundError: there is no such run of this account.
        ConflictError: the run has ended.
    """
    trigger = session.get(Trigger, trigger_id, with_for_update=True, populate_existing=True)
    if trigger is None or (account is not None and trigger.account_id != account.id):
        raise NotFoundError(f"Trigger {trigger_id[:64]!r} not found.")
    by = account.username if account is not None else ADMIN
    if cancel(session, trigger, ModelFailure(code=CANCELLED, facts={"by": by}), now):
        if trigger.type == TriggerType.VALIDATION:
            _end_validation(session, session.get_one(Pickle, trigger.pickle_id), now)
    elif trigger.failure_code != CANCELLED:
        raise ConflictError(f"The run {trigger.id} can't be canceled because it has already ended ({trigger.state}).")
    return trigger


def _end_validation(session: Session, pickle: Pickle, now: datetime) -> None:
    was_validated = has_succeeded(session, pickle)
    pickle.validation_status = ValidationStatus.VALIDATED if was_validated else ValidationStatus.INVALID
    pickle.updated_at = now
    session.flush()
