"""What the table of models shows of each: its pickle, its newest run, how the last rounds went."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload, selectinload

from predictd.db.models import Diagnostics, Model, Pickle, Round, Submission, Trigger
from predictd.db.rounds import list_rounds
from predictd.domain.names import CLASSIC
from predictd.domain.states import TriggerState

LAST_ROUNDS = 8
_KINDS = {TriggerState.FAILED: "failed", TriggerState.ERROR: "error", TriggerState.SUCCEEDED: "none"}


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


def overviews(session: Session, models: Sequence[Model], now: datetime) -> list[Overview]:
    """What the table shows of these models, in their order. A handful of queries, however many there are."""
    pickles = _pickles(session, models)
    uploaded: dict[str | None, Pickle] = {}
    for pickle in pickles.values():
        uploaded.setdefault(pickle.model_id, pickle)
    newest = _newest_runs(session, list(pickles))
    rounds = [one for one in list_rounds(session, CLASSIC, LAST_ROUNDS) if one.open_time <= now]
    outcomes = _outcomes(session, models, rounds)
    diagnostics = _diagnostics(session, [model.pickle_id for model in models if model.pickle_id])
    found = []
    for model in models:
        assigned, latest = pickles.get(model.pickle_id or ""), uploaded.get(model.id)
        coming = latest if latest is not None and latest is not assigned and latest.takes_slot else None
        of_either = [newest[one.id] for one in (assigned, coming or latest) if one is not None and one.id in newest]
        found.append(
            Overview(
                model=model,
                pickle=assigned,
                coming=coming,
                run=max(of_either, key=lambda run: run.inserted_at, default=None),
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


def _pickles(session: Session, models: Sequence[Model]) -> dict[str, Pickle]:
    """By id, newest first: those in the slots, and the newest uploaded for each model."""
    later = sa.orm.aliased(Pickle)
    is_newest = ~sa.exists().where(later.model_id == Pickle.model_id, later.inserted_at > Pickle.inserted_at)
    in_slot = Pickle.id.in_([model.pickle_id for model in models if model.pickle_id])
    found = session.scalars(
        sa.select(Pickle)
        .where(sa.or_(in_slot, sa.and_(Pickle.model_id.in_([model.id for model in models]), is_newest)))
        .order_by(Pickle.inserted_at.desc())
        .options(joinedload(Pickle.runtime), joinedload(Pickle.data_version))
    )
    return {one.id: one for one in found}


def _newest_runs(session: Session, pickle_ids: Sequence[str]) -> dict[str, Trigger]:
    """The newest run of each of these pickles, diagnostics aside."""
    newest = (
        sa.select(Trigger.id)
        .where(Trigger.pickle_id == Pickle.id, Trigger.diagnostics_id.is_(None))
        .order_by(Trigger.inserted_at.desc())
        .limit(1)
        .correlate(Pickle)
        .scalar_subquery()
    )
    ids = session.scalars(sa.select(newest).select_from(Pickle).where(Pickle.id.in_(pickle_ids))).all()
    found = session.scalars(
        sa.select(Trigger)
        .where(Trigger.id.in_([one for one in ids if one is not None]))
        .options(joinedload(Trigger.round), selectinload(Trigger.statuses))
    )
    return {run.pickle_id: run for run in found if run.pickle_id is not None}


def _outcomes(
    session: Session, models: Sequence[Model], rounds: Sequence[Round]
) -> dict[tuple[str | None, str | None], Outcome]:
    """By the ids of model and round; what was submitted outweighs a run that was not."""
    by_id: dict[str | None, Round] = {one.id: one for one in rounds}
    model_ids, round_ids = [model.id for model in models], [one.id for one in rounds]
    found: dict[tuple[str | None, str | None], Outcome] = {}
    models_of: dict[str | None, list[str]] = defaultdict(list)
    for model in models:
        if model.pickle_id is not None:
            models_of[model.pickle_id].append(model.id)
    runs = session.execute(
        sa.select(Trigger.id, Trigger.pickle_id, Trigger.round_id, Trigger.state, Pickle.model_id)
        .join(Pickle, Pickle.id == Trigger.pickle_id)
        .where(Trigger.round_id.in_(round_ids), sa.or_(Pickle.model_id.in_(model_ids), Pickle.id.in_(list(models_of))))
        .order_by(Trigger.inserted_at)
    )
    for run in runs:
        kind = _KINDS.get(TriggerState(run.state), "running")
        for model_id in {*models_of[run.pickle_id], run.model_id}:
            found[model_id, run.round_id] = Outcome(round=by_id[run.round_id], kind=kind, run_id=run.id)
    submissions = session.execute(
        sa.select(Submission.model_id, Submission.round_id, Submission.trigger_id, Submission.selected)
        .where(Submission.model_id.in_(model_ids), Submission.round_id.in_(round_ids))
        .order_by(Submission.selected, Submission.inserted_at)
    )
    for one in submissions:
        key = (one.model_id, one.round_id)
        if key not in found or found[key].kind != "running":
            kind = "success" if one.selected else "late"
            found[key] = Outcome(round=by_id[one.round_id], kind=kind, run_id=one.trigger_id)
    return found


def _diagnostics(session: Session, pickle_ids: Sequence[str]) -> dict[str, Diagnostics]:
    """The newest diagnostics of each of these pickles."""
    found = session.scalars(
        sa.select(Diagnostics).where(Diagnostics.pickle_id.in_(pickle_ids)).order_by(Diagnostics.inserted_at)
    )
    return {one.pickle_id: one for one in found if one.pickle_id is not None}
