"""Fallback: where the assigned pickle fails before its round closes, the last good one of the model runs for it.

It is decided in the transaction that records the failure, so that it happens once, whatever dies. Models may opt out.
"""

from collections.abc import Callable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Model, Pickle, Round, Runtime, Submission, Trigger, TriggerStatus
from predictd.db.rounds import status_of
from predictd.domain.reasons import NO_OPEN_ROUND, Reason
from predictd.domain.states import RoundStatus, TriggerState, TriggerType, ValidationStatus
from predictd.jobs.queue import enqueue
from predictd.jobs.status_history import add_notes
from predictd.storage import Storage
from predictd.uploads.assignment import assigned_models

SOURCE = "fallback"
_MOST_LOOKED_AT = 20

IsUsable = Callable[[Session, Pickle], bool]
"""Whether a pickle can be run: its file is there and its runtime is built, or can be."""


def nothing_is(_session: Session, _pickle: Pickle) -> bool:
    """No pickle is usable, so nothing falls back."""
    return False


def usable_with(storage: Storage, has_runtime: Callable[[str], bool]) -> IsUsable:
    """Looks into this storage, and whether there is the runtime of a folder, which takes no time to tell."""

    def is_usable(session: Session, pickle: Pickle) -> bool:
        if not has_runtime(session.get_one(Runtime, pickle.runtime_id).folder):
            return False
        return storage.stat(pickle.storage_key) is not None

    return is_usable


def fall_back(session: Session, trigger_id: str, failed_code: str, is_usable: IsUsable, now: datetime) -> None:
    """Queue the last good pickle of every model that a run which has just failed leaves without a submission.

    Only a run of an assigned pickle for a round that is open has a fallback, and a fallback has none. The histories of
    both say so. `failed_code` is the code of the failure.
    """
    failed = session.get_one(Trigger, trigger_id, populate_existing=True)
    round_ = session.get(Round, failed.round_id) if failed.round_id else None
    if failed.type != TriggerType.LIVE or failed.fallback_for or round_ is None or failed.pickle_id is None:
        return
    if status_of(round_, now) is not RoundStatus.OPEN:
        return
    pickle = session.get_one(Pickle, failed.pickle_id)
    notes = []
    for model in assigned_models(session, pickle):
        good = _replacement(session, model, pickle, round_, is_usable) if model.fallback else None
        if good is None:
            continue
        facts = {
            "model": model.name,
            "failed_pickle": pickle.filename,
            "failed_code": failed_code,
            "pickle": good.filename,
            "round": round_.number,
        }
        reason = Reason(code="fallback", facts=facts)
        run = enqueue(session, good, TriggerType.LIVE, round_.id, now, reason)
        # It takes the place of the run that failed.
        run.fallback_for, run.rank = model.id, failed.rank
        session.flush()
        notes.append(Reason(code="fallback_queued", facts={"model": model.name, "pickle": good.filename}))
    if notes:
        add_notes(session, failed.id, notes)


def has_run_well(session: Session, pickle: Pickle) -> bool:
    """Whether any run of it, for a round or a validation, has ended with predictions that are right."""
    found = sa.select(Trigger.id).where(Trigger.pickle_id == pickle.id, _ended_well()).limit(1)
    return session.scalar(found) is not None


def has_submission(session: Session, model_id: str, round_id: str) -> bool:
    """Whether the model has a submission that counts for the round."""
    found = sa.select(Submission.id).where(
        Submission.model_id == model_id, Submission.round_id == round_id, Submission.selected
    )
    return session.scalar(found.limit(1)) is not None


def good_pickles(model: Model) -> sa.Select[Pickle]:
    """The validated pickles that have run well for the model or were uploaded for it, the one that ran last first."""
    ran_for_it = (
        sa.select(Trigger.pickle_id)
        .join(Submission, Submission.trigger_id == Trigger.id)
        .where(Submission.model_id == model.id)
    )
    return (
        sa.select(Pickle)
        .join(Trigger, Trigger.pickle_id == Pickle.id)
        .where(
            Pickle.account_id == model.account_id,
            Pickle.validation_status == ValidationStatus.VALIDATED,
            Pickle.removed_at.is_(None),
            sa.or_(Pickle.model_id == model.id, Pickle.id.in_(ran_for_it)),
            _ended_well(),
        )
        .group_by(Pickle.id)
        .order_by(sa.func.max(Trigger.updated_at).desc())
    )


def _replacement(session: Session, model: Model, failed: Pickle, round_: Round, is_usable: IsUsable) -> Pickle | None:
    """What is to run in place of the failed pickle; None where the round needs nothing, or there is nothing."""
    # The model's row is the lock: two failures at once queue one fallback.
    session.execute(sa.select(Model.id).where(Model.id == model.id).with_for_update())
    had_one = sa.select(Trigger.id).where(Trigger.round_id == round_.id, Trigger.fallback_for == model.id).limit(1)
    if has_submission(session, model.id, round_.id) or session.scalar(had_one) is not None:
        return None
    failed_in_it = sa.select(Trigger.pickle_id).where(
        Trigger.round_id == round_.id,
        Trigger.type == TriggerType.LIVE,
        Trigger.pickle_id.is_not(None),
        Trigger.state.in_([TriggerState.FAILED, TriggerState.ERROR]),
    )
    good = session.scalars(
        good_pickles(model).where(Pickle.id != failed.id, Pickle.id.not_in(failed_in_it)).limit(_MOST_LOOKED_AT)
    )
    return next((pickle for pickle in good if is_usable(session, pickle)), None)


def _ended_well() -> sa.ColumnElement[bool]:
    """Without an open round a validation that succeeds ends as an Error that says so."""
    has_no_round = sa.exists().where(TriggerStatus.trigger_id == Trigger.id, TriggerStatus.code == NO_OPEN_ROUND)
    is_validation = Trigger.type == TriggerType.VALIDATION
    without_round = sa.and_(is_validation, Trigger.state == TriggerState.ERROR, has_no_round)
    succeeded = sa.and_(Trigger.type != TriggerType.DIAGNOSTICS, Trigger.state == TriggerState.SUCCEEDED)
    return sa.or_(succeeded, without_round)
