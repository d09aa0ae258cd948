"""Updates of a pickle and its models when a run ends."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy.orm import Session

from predictd.db.models import Model, Pickle, Round, Run
from predictd.db.rounds import current_round, status_of
from predictd.domain.failures import ModelFailure
from predictd.domain.names import CLASSIC
from predictd.domain.notification_types import Event
from predictd.domain.reasons import NO_OPEN_ROUND, PLATFORM, Reason
from predictd.domain.states import RoundStatus, RunState, RunType, ValidationStatus
from predictd.jobs.queue import Claim, advance, enqueue, retry
from predictd.notifications.outbox import notify_run
from predictd.uploads.assignment import assign_when_validated, assigned_models
from predictd.uploads.diagnostics import diagnose_pickle
from predictd.uploads.fallback import SOURCE, IsUsable, has_submission, queue_fallbacks
from predictd.uploads.submissions import StoredPredictions, accept


def fail_run(session: Session, claimed: Claim, failure: ModelFailure, now: datetime, is_usable: IsUsable) -> bool:
    """End the run as a model failure; a pickle in validation becomes invalid.

    Models without a submission for the open round fall back to their last good pickle that `is_usable`.

    Returns:
        False, without changes, if the claim is lost.
    """
    if not advance(session, claimed, RunState.FAILED, Reason.of_failure(failure), now, failure_code=failure.code):
        return False
    run = session.get_one(Run, claimed.run_id)
    if run.type == RunType.VALIDATION:
        pickle = session.get_one(Pickle, run.pickle_id)
        pickle.validation_status = ValidationStatus.INVALID
        pickle.updated_at = now
    session.flush()
    notify_run(session, run, Event.RUN_FAILED, now)
    queue_fallbacks(session, claimed.run_id, failure.code, is_usable, now)
    return True


def retry_or_give_up(
    session: Session,
    claimed: Claim,
    reason: Reason,
    now: datetime,
    *,
    wait_seconds: float,
    max_attempts: int,
    is_usable: IsUsable,
    is_outage: bool = False,
) -> bool:
    """Requeue a run after a platform failure; after the last attempt its models fall back.

    Returns:
        Whether it will be retried.
    """
    if retry(session, claimed, reason, now, wait_seconds=wait_seconds, max_attempts=max_attempts, is_outage=is_outage):
        return True
    run = session.get_one(Run, claimed.run_id, populate_existing=True)
    if run.attempt == claimed.attempt and run.state == RunState.ERROR:
        queue_fallbacks(session, run.id, PLATFORM, is_usable, now)
    return False


def complete_run(session: Session, claimed: Claim, predictions: StoredPredictions, used: Reason, now: datetime) -> bool:
    """Complete a run with valid predictions, in one transaction.

    A validation validates the pickle and assigns it to the model that it was uploaded for. The predictions become the
    submission of every model that the pickle is assigned to. Without an open round a validation ends with the code
    `no_open_round`. `used` is the resource usage.

    Returns:
        False, without changes, if the claim is lost.
    """
    run = session.get_one(Run, claimed.run_id, with_for_update=True, populate_existing=True)
    if run.attempt != claimed.attempt or run.state != RunState.VALIDATING:
        return False
    pickle = session.get_one(Pickle, run.pickle_id)
    notes = []
    is_validation = run.type == RunType.VALIDATION
    if is_validation:
        pickle.validation_status = ValidationStatus.VALIDATED
        pickle.updated_at = now
        session.flush()
        notes.append(Reason(code="validated"))
        diagnose_pickle(session, pickle, now)
        not_assigned = assign_when_validated(session, pickle)
        if not_assigned is not None:
            notes.append(not_assigned)
    round_ = session.get_one(Round, run.round_id) if run.round_id else None
    if round_ is None:
        advance(session, claimed, RunState.ERROR, Reason(code=NO_OPEN_ROUND), now)
    else:
        submitted = _submit(session, run, pickle, round_, predictions, now)
        reason = replace(submitted, notes=(*submitted.notes, *notes, used))
        advance(session, claimed, RunState.SUCCEEDED, reason, now)
    notify_run(session, run, Event.RUN_SUCCEEDED, now)
    if is_validation:
        _enqueue_for_new_round(session, pickle, round_, now)
    return True


def _submit(
    session: Session, run: Run, pickle: Pickle, round_: Round, predictions: StoredPredictions, now: datetime
) -> Reason:
    """Submit for every model of the pickle; return the result."""
    if run.fallback_model_id is not None:
        return _submit_in_place(session, run, round_, predictions, now)
    models = assigned_models(session, pickle)
    if not models:
        return Reason(code="not_assigned")
    for model in models:
        submission = accept(session, model, round_, predictions, now=now, run_id=run.id, source="model_upload")
        if run.submission_id is None or model.id == pickle.model_id:
            run.submission_id = submission.id
    session.flush()
    return _submitted(round_, models, now)


def _submit_in_place(
    session: Session, run: Run, round_: Round, predictions: StoredPredictions, now: datetime
) -> Reason:
    """Submit for the model of a fallback, unless it has a newer submission."""
    model = session.get_one(Model, run.fallback_model_id, with_for_update=True, populate_existing=True)
    if model.archived_at is not None or model.pickle_id is None:
        return Reason(code="model_inactive", facts={"model": model.name})
    if has_submission(session, model.id, round_.id):
        return Reason(code="newer_submission", facts={"model": model.name, "round": round_.number})
    notes = run.statuses[0].description
    submission = accept(session, model, round_, predictions, now=now, run_id=run.id, source=SOURCE, notes=notes)
    run.submission_id = submission.id
    session.flush()
    return replace(_submitted(round_, [model], now), notes=(Reason(code="is_fallback"),))


def _submitted(round_: Round, models: Sequence[Model], now: datetime) -> Reason:
    code = "submitted" if status_of(round_, now) is RoundStatus.OPEN else "submitted_late"
    return Reason(code=code, facts={"round": round_.number, "models": [model.name for model in models]})


def _enqueue_for_new_round(session: Session, pickle: Pickle, round_: Round | None, now: datetime) -> None:
    """Queue the pickle for a round that opened during its validation."""
    open_now = current_round(session, CLASSIC, now)
    if open_now is None or (round_ is not None and open_now.id == round_.id):
        return
    if assigned_models(session, pickle):
        enqueue(
            session,
            pickle,
            RunType.LIVE,
            open_now.id,
            now,
            Reason(code="round_opened_during_validation"),
        )
