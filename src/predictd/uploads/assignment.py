"""Which pickle sits in which model's slot."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Account, Model, Pickle, Round, Trigger
from predictd.db.rounds import current_round
from predictd.domain.errors import ConflictError, NotFoundError
from predictd.domain.names import check_url
from predictd.domain.reasons import NO_OPEN_ROUND, Reason
from predictd.domain.states import ACTIVE, TriggerType, ValidationStatus
from predictd.jobs.queue import end_at_once, enqueue, enqueue_round

WEBHOOK_IS_SET = (
    "Model {name} has a submission webhook, so it can't use a pickle. Remove the webhook first "
    "(setSubmissionWebhook with null)."
)
PICKLE_IS_ASSIGNED = (
    "Model {name} has a pickle assigned, so {what}. Unassign the pickle first (assignPickleToModel with pickleId null)."
)


def get_pickle(session: Session, account: Account, pickle_id: str) -> Pickle:
    """The account's pickle of that id; another account's answers as an unknown one.

    Raises:
        NotFoundError: there is no such pickle of this account.
    """
    pickle = session.get(Pickle, pickle_id)
    if pickle is None or pickle.account_id != account.id:
        raise NotFoundError(f"Pickle {pickle_id[:64]!r} not found.")
    return pickle


def refuse_webhook(model: Model) -> None:
    """Raise ConflictError when a webhook submits for the model: two sources must never race for it."""
    if model.submission_webhook:
        raise ConflictError(WEBHOOK_IS_SET.format(name=model.name))


def refuse_pickle(model: Model, what: str) -> None:
    """Raise ConflictError when a pickle submits for the model; `what` says what that rules out."""
    if model.pickle_id is not None:
        raise ConflictError(PICKLE_IS_ASSIGNED.format(name=model.name, what=what))


def refuse_removed(pickle: Pickle) -> None:
    """Raise ConflictError when the pickle's file is gone."""
    if pickle.removed_at is not None:
        raise ConflictError(
            f"The file of pickle {pickle.filename} was removed on {pickle.removed_at:%Y-%m-%d}, because it "
            "was unused for a long time. Upload it again."
        )


def set_webhook(model: Model, url: str | None) -> None:
    """Set the address that is called to have the model submitted; None takes it off.

    Raises:
        ConflictError: a pickle submits for the model.
        InvalidInputError: it is no whole http or https URL.
    """
    if url:
        check_url("submission webhook", url)
        refuse_pickle(model, "it can't have a submission webhook")
    model.submission_webhook = url or None


def assign(session: Session, model: Model, pickle: Pickle, now: datetime) -> None:
    """Put a validated pickle into the model's slot; harmless where it is in already.

    While a round is open the pickle is run for it, unless such a run is on its way.

    Raises:
        ConflictError: the pickle is not validated, its file was removed, or the model has a webhook.
    """
    if model.pickle_id == pickle.id:
        return
    refuse_webhook(model)
    # Held until the end of this transaction, so that the file does not go in the meantime.
    session.refresh(pickle, ["removed_at"], with_for_update={"key_share": True, "read": True})
    refuse_removed(pickle)
    if pickle.validation_status != ValidationStatus.VALIDATED:
        raise ConflictError(
            f"Pickle {pickle.filename} can't be assigned: it is {pickle.validation_status}, not validated. "
            "Wait for its validation, or see the statuses of its run for why it failed."
        )
    round_ = current_round(session, model.tournament, now)
    # A run that it locks can't end before this assignment is committed, and then submits for the model too.
    has_active_run = round_ is not None and _lock_active_run(session, pickle, round_.id)
    _take_slot(session, model, pickle)
    if round_ is not None and model.archived_at is None and not has_active_run:
        reason = Reason(code="assigned", facts={"model": model.name})
        enqueue(session, pickle, TriggerType.LIVE, round_.id, now, reason)


def unassign(session: Session, model: Model) -> None:
    """Empty the model's slot; harmless where it is empty."""
    if model.pickle_id is not None:
        pickle = session.get_one(Pickle, model.pickle_id)
        if pickle.model_id == model.id:
            pickle.takes_slot = False
    model.pickle_id = None
    session.flush()


def take_slot_when_validated(session: Session, pickle: Pickle) -> Reason | None:
    """Give a pickle that has just been validated the slot it was uploaded for.

    Returns:
        Why it did not get the slot, None when it did or when it was not uploaded for one.
    """
    if not pickle.takes_slot or pickle.model_id is None:
        return None
    pickle.takes_slot = False
    model = session.get_one(Model, pickle.model_id, with_for_update=True)
    if model.submission_webhook:
        return Reason(code="not_assigned_webhook", facts={"model": model.name})
    if model.pickle_id is not None and model.pickle_id != pickle.id:
        assigned = session.get_one(Pickle, model.pickle_id)
        if assigned.model_id == model.id and assigned.inserted_at > pickle.inserted_at:
            return Reason(code="not_assigned_newer", facts={"model": model.name, "pickle": assigned.filename})
    _take_slot(session, model, pickle)
    return None


def trigger_now(session: Session, pickle: Pickle, now: datetime, *, validation: bool, tournament: int) -> Trigger:
    """Run the pickle now: for the open round, or for validation again.

    Without an open round a live trigger ends at once and says so.

    Raises:
        ConflictError: the pickle's file was removed.
    """
    session.refresh(pickle, ["removed_at"], with_for_update={"key_share": True, "read": True})
    refuse_removed(pickle)
    if validation:
        pickle.validation_status = ValidationStatus.PENDING
        pickle.updated_at = now
        return enqueue(session, pickle, TriggerType.VALIDATION, None, now, Reason(code="validation_requested"))
    round_ = current_round(session, tournament, now)
    round_id = round_.id if round_ is not None else None
    trigger = enqueue(session, pickle, TriggerType.LIVE, round_id, now, Reason(code="run_requested"))
    if round_ is None:
        end_at_once(session, trigger, Reason(code=NO_OPEN_ROUND), now)
    return trigger


def trigger_assigned(session: Session, round_: Round, now: datetime) -> int:
    """Trigger every pickle that is assigned to a model in use, once each. Returns how many.

    Those of suspended accounts are left out.
    """
    in_use = sa.select(Model.pickle_id).where(
        Model.tournament == round_.tournament, Model.pickle_id.is_not(None), Model.archived_at.is_(None)
    )
    suspended = sa.select(Account.id).where(Account.suspended_at.is_not(None))
    wanted = sa.select(Pickle).where(Pickle.id.in_(in_use), Pickle.account_id.not_in(suspended))
    pickles = session.scalars(wanted).all()
    enqueue_round(session, pickles, round_, now, Reason(code="round_opened"))
    return len(pickles)


def assigned_models(session: Session, pickle: Pickle) -> list[Model]:
    """The models in use whose slot the pickle sits in, oldest first."""
    return list(
        session.scalars(
            sa.select(Model)
            .where(Model.pickle_id == pickle.id, Model.archived_at.is_(None))
            .order_by(Model.inserted_at, Model.id)
        )
    )


def _take_slot(session: Session, model: Model, pickle: Pickle) -> None:
    model.pickle_id = pickle.id
    # An upload for this slot that is still being validated would otherwise throw out what was assigned after it.
    session.execute(
        sa.update(Pickle)
        .where(Pickle.model_id == model.id, Pickle.inserted_at <= pickle.inserted_at)
        .values(takes_slot=False)
    )
    session.flush()


def _lock_active_run(session: Session, pickle: Pickle, round_id: str) -> bool:
    """Lock a run of the pickle for the round that has not ended until the transaction ends; False if there is none."""
    active_run = (
        sa.select(Trigger.id)
        .where(
            Trigger.pickle_id == pickle.id,
            Trigger.round_id == round_id,
            Trigger.fallback_for.is_(None),
            Trigger.type != TriggerType.DIAGNOSTICS,
            Trigger.state.in_(ACTIVE),
        )
        .limit(1)
        .with_for_update()
    )
    return session.scalar(active_run) is not None
