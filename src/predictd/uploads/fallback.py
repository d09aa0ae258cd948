"""Fallback: if the assigned pickle fails before its round closes, the last good pickle of the model runs instead.

The transaction that records the failure queues the fallback, so that it happens exactly once. Models can opt out.
"""

from collections.abc import Callable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Model, Pickle, Round, Run, RunStatus, Runtime, Submission
from predictd.db.rounds import status_of
from predictd.domain.reasons import NO_OPEN_ROUND, Reason
from predictd.domain.states import RoundStatus, RunState, RunType, ValidationStatus
from predictd.jobs.queue import enqueue
from predictd.jobs.status_history import add_notes
from predictd.storage import Storage
from predictd.uploads.assignment import assigned_models

SOURCE = "fallback"
_MAX_CANDIDATES = 20

IsUsable = Callable[[Session, Pickle], bool]
"""Returns whether a pickle can run: its file exists and its runtime is built or can be."""


def never_usable(_session: Session, _pickle: Pickle) -> bool:
    """Return False, so that nothing falls back."""
    return False


def usability_check(storage: Storage, has_runtime: Callable[[str], bool]) -> IsUsable:
    """Return a check of the file in this storage and of the runtime."""

    def is_usable(session: Session, pickle: Pickle) -> bool:
        if not has_runtime(session.get_one(Runtime, pickle.runtime_id).folder):
            return False
        return storage.stat(pickle.storage_key) is not None

    return is_usable


def queue_fallbacks(session: Session, run_id: str, failed_code: str, is_usable: IsUsable, now: datetime) -> None:
    """Queue the last good pickle of every model that a failed run leaves without a submission.

    Only runs of assigned pickles for an open round have a fallback, and a fallback has none. The histories of both runs
    record it. `failed_code` is the code of the failure.
    """
    failed = session.get_one(Run, run_id, populate_existing=True)
    round_ = session.get(Round, failed.round_id) if failed.round_id else None
    if failed.type != RunType.LIVE or failed.fallback_model_id or round_ is None or failed.pickle_id is None:
        return
    if status_of(round_, now) is not RoundStatus.OPEN:
        return
    pickle = session.get_one(Pickle, failed.pickle_id)
    notes = []
    for model in assigned_models(session, pickle):
        replacement = _replacement(session, model, pickle, round_, is_usable) if model.fallback else None
        if replacement is None:
            continue
        facts = {
            "model": model.name,
            "failed_pickle": pickle.filename,
            "failed_code": failed_code,
            "pickle": replacement.filename,
            "round": round_.number,
        }
        reason = Reason(code="fallback", facts=facts)
        run = enqueue(session, replacement, RunType.LIVE, round_.id, now, reason)
        # The fallback gets the rank of the failed run.
        run.fallback_model_id, run.rank = model.id, failed.rank
        session.flush()
        notes.append(Reason(code="fallback_queued", facts={"model": model.name, "pickle": replacement.filename}))
    if notes:
        add_notes(session, failed.id, notes)


def has_succeeded(session: Session, pickle: Pickle) -> bool:
    """Return whether a round or validation run of the pickle ended with valid predictions."""
    query = sa.select(Run.id).where(Run.pickle_id == pickle.id, _has_succeeded()).limit(1)
    return session.scalar(query) is not None


def has_submission(session: Session, model_id: str, round_id: str) -> bool:
    """Return whether the model has a selected submission for the round."""
    query = sa.select(Submission.id).where(
        Submission.model_id == model_id, Submission.round_id == round_id, Submission.selected
    )
    return session.scalar(query.limit(1)) is not None


def select_good_pickles(model: Model) -> sa.Select[Pickle]:
    """Select the validated pickles that succeeded for the model or were uploaded for it, last run first."""
    ran_for_model = (
        sa.select(Run.pickle_id).join(Submission, Submission.run_id == Run.id).where(Submission.model_id == model.id)
    )
    return (
        sa.select(Pickle)
        .join(Run, Run.pickle_id == Pickle.id)
        .where(
            Pickle.account_id == model.account_id,
            Pickle.validation_status == ValidationStatus.VALIDATED,
            Pickle.removed_at.is_(None),
            sa.or_(Pickle.model_id == model.id, Pickle.id.in_(ran_for_model)),
            _has_succeeded(),
        )
        .group_by(Pickle.id)
        .order_by(sa.func.max(Run.updated_at).desc())
    )


def _replacement(session: Session, model: Model, failed: Pickle, round_: Round, is_usable: IsUsable) -> Pickle | None:
    """Return the pickle to run instead of the failed one; None if none is needed or usable."""
    # Lock the model, so that concurrent failures queue only one fallback.
    session.execute(sa.select(Model.id).where(Model.id == model.id).with_for_update())
    existing = sa.select(Run.id).where(Run.round_id == round_.id, Run.fallback_model_id == model.id).limit(1)
    if has_submission(session, model.id, round_.id) or session.scalar(existing) is not None:
        return None
    failed_pickles = sa.select(Run.pickle_id).where(
        Run.round_id == round_.id,
        Run.type == RunType.LIVE,
        Run.pickle_id.is_not(None),
        Run.state.in_([RunState.FAILED, RunState.ERROR]),
    )
    candidates = session.scalars(
        select_good_pickles(model)
        .where(Pickle.id != failed.id, Pickle.id.not_in(failed_pickles))
        .limit(_MAX_CANDIDATES)
    )
    return next((pickle for pickle in candidates if is_usable(session, pickle)), None)


def _has_succeeded() -> sa.ColumnElement[bool]:
    """Return the condition for success; without an open round, a successful validation ends as an Error."""
    has_no_round = sa.exists().where(RunStatus.run_id == Run.id, RunStatus.code == NO_OPEN_ROUND)
    is_validation = Run.type == RunType.VALIDATION
    without_round = sa.and_(is_validation, Run.state == RunState.ERROR, has_no_round)
    succeeded = sa.and_(Run.type != RunType.DIAGNOSTICS, Run.state == RunState.SUCCEEDED)
    return sa.or_(succeeded, without_round)
