"""Assignment of pickles to models, and the runs that it queues."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Account, Model, Pickle, Round, Run
from predictd.db.rounds import current_round
from predictd.domain.errors import ConflictError, NotFoundError
from predictd.domain.names import check_url
from predictd.domain.reasons import NO_OPEN_ROUND, Reason
from predictd.domain.states import ACTIVE, RunType, ValidationStatus
from predictd.jobs.queue import end_pending, enqueue, enqueue_round

WEBHOOK_IS_SET = (
    "Model {name} has a submission webhook, so it can't use a pickle. Remove the webhook first "
    "(setSubmissionWebhook with null)."
)
PICKLE_IS_ASSIGNED = (
    "Model {name} has a pickle assigned, so {consequence}. Unassign the pickle first "
    "(assignPickleToModel with pickleId null)."
)


def get_pickle(session: Session, account: Account, pickle_id: str) -> Pickle:
    """Return the account's pickle of that id.

    Raises:
        NotFoundError: there is no such pickle of this account.
    """
    pickle = session.get(Pickle, pickle_id)
    if pickle is None or pickle.account_id != account.id:
        raise NotFoundError(f"Pickle {pickle_id[:64]!r} not found.")
    return pickle


def check_has_no_webhook(model: Model) -> None:
    """Raise ConflictError if the model has a webhook, because it can have only one source of predictions."""
    if model.submission_webhook:
        raise ConflictError(WEBHOOK_IS_SET.format(name=model.name))


def check_has_no_pickle(model: Model, consequence: str) -> None:
    """Raise ConflictError if a pickle is assigned to the model; the message contains the consequence."""
    if model.pickle_id is not None:
        raise ConflictError(PICKLE_IS_ASSIGNED.format(name=model.name, consequence=consequence))


def check_not_removed(pickle: Pickle) -> None:
    """Raise ConflictError if the file of the pickle was removed."""
    if pickle.removed_at is not None:
        raise ConflictError(
            f"The file of pickle {pickle.filename} was removed on {pickle.removed_at:%Y-%m-%d}, because it "
            "was unused for a long time. Upload it again."
        )


def set_webhook(model: Model, url: str | None) -> None:
    """Set the webhook that is called to request a submission; None removes it.

    Raises:
        ConflictError: a pickle is assigned to the model.
        InvalidInputError: it is not an absolute http or https URL.
    """
    if url:
        check_url("submission webhook", url)
        check_has_no_pickle(model, "it can't have a submission webhook")
    model.submission_webhook = url or None


def assign(session: Session, model: Model, pickle: Pickle, now: datetime) -> None:
    """Assign a validated pickle to a model; do nothing if it is already assigned.

    While a round is open, the pickle runs for it, unless such a run is active.

    Raises:
        ConflictError: the pickle is not validated, its file was removed, or the model has a webhook.
    """
    if model.pickle_id == pickle.id:
        return
    check_has_no_webhook(model)
    # Locked until the end of the transaction, so that the file is not removed meanwhile.
    session.refresh(pickle, ["removed_at"], with_for_update={"key_share": True, "read": True})
    check_not_removed(pickle)
    if pickle.validation_status != ValidationStatus.VALIDATED:
        raise ConflictError(
            f"Pickle {pickle.filename} can't be assigned: it is {pickle.validation_status}, not validated. "
            "Wait for its validation, or see the statuses of its run for why it failed."
        )
    round_ = current_round(session, model.tournament, now)
    # A run that it locks can't end before this assignment is committed, and then submits for the model too.
    has_active_run = round_ is not None and _lock_active_run(session, pickle, round_.id)
    _set_pickle(session, model, pickle)
    if round_ is not None and model.archived_at is None and not has_active_run:
        reason = Reason(code="assigned", facts={"model": model.name})
        enqueue(session, pickle, RunType.LIVE, round_.id, now, reason)


def unassign(session: Session, model: Model) -> None:
    """Unassign the pickle of a model, if there is one."""
    if model.pickle_id is not None:
        pickle = session.get_one(Pickle, model.pickle_id)
        if pickle.model_id == model.id:
            pickle.assign_when_validated = False
    model.pickle_id = None
    session.flush()


def assign_when_validated(session: Session, pickle: Pickle) -> Reason | None:
    """Assign a pickle that was just validated to the model that it was uploaded for.

    Returns:
        Why it was not assigned; None if it was, or if it was uploaded for no model.
    """
    if not pickle.assign_when_validated or pickle.model_id is None:
        return None
    pickle.assign_when_validated = False
    model = session.get_one(Model, pickle.model_id, with_for_update=True)
    if model.submission_webhook:
        return Reason(code="not_assigned_webhook", facts={"model": model.name})
    if model.pickle_id is not None and model.pickle_id != pickle.id:
        assigned = session.get_one(Pickle, model.pickle_id)
        if assigned.model_id == model.id and assigned.inserted_at > pickle.inserted_at:
            return Reason(code="not_assigned_newer", facts={"model": model.name, "pickle": assigned.filename})
    _set_pickle(session, model, pickle)
    return None


def queue_run(session: Session, pickle: Pickle, now: datetime, *, validation: bool, tournament: int) -> Run:
    """Queue a run of the pickle for the open round, or another validation.

    Without an open round, a round run ends at once as Error.

    Raises:
        ConflictError: the pickle's file was removed.
    """
    session.refresh(pickle, ["removed_at"], with_for_update={"key_share": True, "read": True})
    check_not_removed(pickle)
    if validation:
        pickle.validation_status = ValidationStatus.PENDING
        pickle.updated_at = now
        return enqueue(session, pickle, RunType.VALIDATION, None, now, Reason(code="validation_requested"))
    round_ = current_round(session, tournament, now)
    round_id = round_.id if round_ is not None else None
    run = enqueue(session, pickle, RunType.LIVE, round_id, now, Reason(code="run_requested"))
    if round_ is None:
        end_pending(session, run, Reason(code=NO_OPEN_ROUND), now)
    return run


def queue_round_runs(session: Session, round_: Round, now: datetime) -> int:
    """Queue a run of every pickle that is assigned to an active model, and return their number.

    Pickles of suspended accounts do not run.
    """
    assigned = sa.select(Model.pickle_id).where(
        Model.tournament == round_.tournament, Model.pickle_id.is_not(None), Model.archived_at.is_(None)
    )
    suspended = sa.select(Account.id).where(Account.suspended_at.is_not(None))
    pickles_to_run = sa.select(Pickle).where(Pickle.id.in_(assigned), Pickle.account_id.not_in(suspended))
    pickles = session.scalars(pickles_to_run).all()
    enqueue_round(session, pickles, round_, now, Reason(code="round_opened"))
    return len(pickles)


def assigned_models(session: Session, pickle: Pickle) -> list[Model]:
    """Return the active models that the pickle is assigned to, oldest first."""
    return list(
        session.scalars(
            sa.select(Model)
            .where(Model.pickle_id == pickle.id, Model.archived_at.is_(None))
            .order_by(Model.inserted_at, Model.id)
        )
    )


def _set_pickle(session: Session, model: Model, pickle: Pickle) -> None:
    model.pickle_id = pickle.id
    # Otherwise an earlier upload whose validation is still running would replace this pickle.
    session.execute(
        sa.update(Pickle)
        .where(Pickle.model_id == model.id, Pickle.inserted_at <= pickle.inserted_at)
        .values(assign_when_validated=False)
    )
    session.flush()


def _lock_active_run(session: Session, pickle: Pickle, round_id: str) -> bool:
    """Lock a run of the pickle for the round that has not ended until the transaction ends; False if there is none."""
    active_run = (
        sa.select(Run.id)
        .where(
            Run.pickle_id == pickle.id,
            Run.round_id == round_id,
            Run.fallback_model_id.is_(None),
            Run.type != RunType.DIAGNOSTICS,
            Run.state.in_(ACTIVE),
        )
        .limit(1)
        .with_for_update()
    )
    return session.scalar(active_run) is not None
