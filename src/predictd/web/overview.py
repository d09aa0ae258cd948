"""What the table of models shows of each: its pickle, its newest run, how the last rounds went."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload, selectinload

from predictd.db.models import list_models
from predictd.db.rounds import list_rounds
from predictd.db.tables import Account, Diagnostics, Model, Pickle, Round, Submission, Trigger
from predictd.domain.names import CLASSIC
from predictd.domain.states import TriggerState

LAST_ROUNDS = 8


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a round went for a model: 'success', 'late', 'failed', 'error', 'running' or 'none'."""

    round: Round
    kind: str
    run_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Overview:
    """A model as a row of the table.

    `pickle` is the assigned one, `coming` a newer upload that is not; `run` is the newest run of the two.
    """

    model: Model
    pickle: Pickle | None
    coming: Pickle | None
    run: Trigger | None
    outcomes: tuple[Outcome, ...]
    diagnostics: Diagnostics | None


def overviews(session: Session, account: Account, now: datetime, *, archived: bool = False) -> list[Overview]:
    """The account's models in use, or the archived ones, oldest first. A handful of queries, however many there are."""
    models = [model for model in list_models(session, account) if (model.archived_at is not None) is archived]
    pickles = _pickles(session, account)
    newest = _newest_runs(session, account)
    rounds = [one for one in list_rounds(session, CLASSIC, LAST_ROUNDS) if one.open_time <= now]
    outcomes = _outcomes(session, account, rounds, pickles)
    diagnostics = _diagnostics(session, account)
    found = []
    for model in models:
        assigned = pickles.get(model.pickle_id or "")
        uploaded = next((one for one in pickles.values() if one.model_id == model.id), None)
        coming = uploaded if uploaded is not None and uploaded is not assigned and uploaded.takes_slot else None
        of_either = [newest[one.id] for one in (assigned, coming or uploaded) if one is not None and one.id in newest]
        run = max(of_either, key=lambda run: run.inserted_at, default=None)
        found.append(
            Overview(
                model=model,
                pickle=assigned,
                coming=coming,
                run=run,
                outcomes=tuple(outcomes.get((model.id, one.id), Outcome(round=one, kind="none")) for one in rounds),
                diagnostics=diagnostics.get(assigned.id) if assigned is not None else None,
            )
        )
    return found


def runs_of(session: Session, condition: sa.ColumnElement[bool], limit: int) -> Sequence[Trigger]:
    """The newest runs of that condition."""
    return session.scalars(
        sa.select(Trigger)
        .where(condition)
        .order_by(Trigger.inserted_at.desc())
        .limit(limit)
        .options(joinedload(Trigger.round), joinedload(Trigger.pickle), selectinload(Trigger.statuses))
    ).all()


def _pickles(session: Session, account: Account) -> dict[str, Pickle]:
    """The account's pickles by id, newest first: those in a slot, and the newest uploaded for each model."""
    later = sa.orm.aliased(Pickle)
    is_newest = ~sa.exists().where(later.model_id == Pickle.model_id, later.inserted_at > Pickle.inserted_at)
    in_slot = Pickle.id.in_(sa.select(Model.pickle_id).where(Model.account_id == account.id))
    found = session.scalars(
        sa.select(Pickle)
        .where(Pickle.account_id == account.id, in_slot | is_newest)
        .order_by(Pickle.inserted_at.desc())
        .options(joinedload(Pickle.runtime), joinedload(Pickle.data_version))
    )
    return {one.id: one for one in found}


def _newest_runs(session: Session, account: Account) -> dict[str, Trigger]:
    """The newest run of each of the account's pickles, diagnostics aside."""
    newest = (
        sa.select(Trigger.id)
        .where(Trigger.pickle_id == Pickle.id, Trigger.diagnostics_id.is_(None))
        .order_by(Trigger.inserted_at.desc())
        .limit(1)
        .correlate(Pickle)
        .scalar_subquery()
    )
    ids = session.scalars(sa.select(newest).select_from(Pickle).where(Pickle.account_id == account.id)).all()
    found = session.scalars(
        sa.select(Trigger)
        .where(Trigger.id.in_([one for one in ids if one is not None]))
        .options(joinedload(Trigger.round), selectinload(Trigger.statuses))
    )
    return {run.pickle_id: run for run in found if run.pickle_id is not None}


def _outcomes(
    session: Session, account: Account, rounds: Sequence[Round], pickles: dict[str, Pickle]
) -> dict[tuple[str, str], Outcome]:
    """By the ids of model and round; what was submitted outweighs a run that was not."""
    by_id = {one.id: one for one in rounds}
    kinds = {
        TriggerState.FAILED: "failed",
        TriggerState.ERROR: "error",
        TriggerState.SUCCEEDED: "none",
    }
    found: dict[tuple[str, str], Outcome] = {}
    models_of: dict[str | None, list[str]] = defaultdict(list)
    for model_id, pickle_id in session.execute(
        sa.select(Model.id, Model.pickle_id).where(Model.account_id == account.id, Model.pickle_id.is_not(None))
    ):
        models_of[pickle_id].append(model_id)
    runs = session.execute(
        sa.select(Trigger.id, Trigger.pickle_id, Trigger.round_id, Trigger.state, Pickle.model_id)
        .join(Pickle, Pickle.id == Trigger.pickle_id)
        .where(Pickle.account_id == account.id, Trigger.round_id.in_(list(by_id)))
        .order_by(Trigger.inserted_at)
    )
    for run in runs:
        kind = kinds.get(TriggerState(run.state), "running")
        for model_id in {*models_of[run.pickle_id], run.model_id} - {None}:
            found[model_id, run.round_id] = Outcome(round=by_id[run.round_id], kind=kind, run_id=run.id)
    submissions = session.execute(
        sa.select(Submission.model_id, Submission.round_id, Submission.trigger_id, Submission.selected)
        .where(Submission.account_id == account.id, Submission.round_id.in_(list(by_id)))
        .order_by(Submission.selected, Submission.inserted_at)
    )
    for one in submissions:
        kind = "success" if one.selected else "late"
        before = found.get((one.model_id, one.round_id))
        if before is None or before.kind != "running":
            found[one.model_id, one.round_id] = Outcome(round=by_id[one.round_id], kind=kind, run_id=one.trigger_id)
    return found


def _diagnostics(session: Session, account: Account) -> dict[str, Diagnostics]:
    """The newest diagnostics of each assigned pickle."""
    assigned = sa.select(Model.pickle_id).where(Model.account_id == account.id, Model.pickle_id.is_not(None))
    found = session.scalars(
        sa.select(Diagnostics).where(Diagnostics.pickle_id.in_(assigned)).order_by(Diagnostics.inserted_at)
    )
    return {one.pickle_id: one for one in found if one.pickle_id is not None}
