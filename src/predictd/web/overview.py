"""The rows of the list of models: pickle, latest run, and outcomes of the recent rounds."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload, selectinload

from predictd.db.models import Diagnostics, Model, Pickle, Round, Run, Submission
from predictd.db.rounds import list_rounds
from predictd.domain.names import CLASSIC
from predictd.domain.states import RunState

MAX_ROUNDS = 8
_KINDS = {RunState.FAILED: "failed", RunState.ERROR: "error", RunState.SUCCEEDED: "none"}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a round for a model: 'success', 'late', 'failed', 'error', 'running', or 'none'."""

    round: Round
    kind: str
    run_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Overview:
    """A row of the list of models.

    Attributes:
        pickle: the assigned pickle.
        unassigned_upload: a later upload for the model that is not assigned.
        run: the latest run of either of them.
    """

    model: Model
    pickle: Pickle | None
    unassigned_upload: Pickle | None
    run: Run | None
    outcomes: tuple[Outcome, ...]
    diagnostics: Diagnostics | None


def overviews(session: Session, models: Sequence[Model], now: datetime) -> list[Overview]:
    """Return the rows of these models, in their order; takes the same few queries for any number of models."""
    pickles = _pickles(session, models)
    uploaded: dict[str | None, Pickle] = {}
    for pickle in pickles.values():
        uploaded.setdefault(pickle.model_id, pickle)
    newest = _newest_runs(session, list(pickles))
    rounds = [round_ for round_ in list_rounds(session, CLASSIC, MAX_ROUNDS) if round_.open_time <= now]
    outcomes = _outcomes(session, models, rounds)
    diagnostics = _diagnostics(session, [model.pickle_id for model in models if model.pickle_id])
    rows = []
    for model in models:
        assigned, latest = pickles.get(model.pickle_id or ""), uploaded.get(model.id)
        unassigned_upload = (
            latest if latest is not None and latest is not assigned and latest.assign_when_validated else None
        )
        pickles_shown = [pickle for pickle in (assigned, unassigned_upload or latest) if pickle is not None]
        runs = [newest[pickle.id] for pickle in pickles_shown if pickle.id in newest]
        rows.append(
            Overview(
                model=model,
                pickle=assigned,
                unassigned_upload=unassigned_upload,
                run=max(runs, key=lambda run: run.inserted_at, default=None),
                outcomes=tuple(
                    outcomes.get((model.id, round_.id), Outcome(round=round_, kind="none")) for round_ in rounds
                ),
                diagnostics=diagnostics.get(assigned.id) if assigned is not None else None,
            )
        )
    return rows


def runs_of(session: Session, condition: sa.ColumnElement[bool], limit: int) -> Sequence[Run]:
    """Return the latest runs that match the condition."""
    return session.scalars(
        sa.select(Run)
        .where(condition)
        .order_by(Run.inserted_at.desc())
        .limit(limit)
        .options(joinedload(Run.round), joinedload(Run.pickle), selectinload(Run.statuses))
    ).all()


def _pickles(session: Session, models: Sequence[Model]) -> dict[str, Pickle]:
    """Return the assigned pickles and the latest upload of each model, by id, newest first."""
    later = sa.orm.aliased(Pickle)
    is_newest = ~sa.exists().where(later.model_id == Pickle.model_id, later.inserted_at > Pickle.inserted_at)
    is_assigned = Pickle.id.in_([model.pickle_id for model in models if model.pickle_id])
    pickles = session.scalars(
        sa.select(Pickle)
        .where(sa.or_(is_assigned, sa.and_(Pickle.model_id.in_([model.id for model in models]), is_newest)))
        .order_by(Pickle.inserted_at.desc())
        .options(joinedload(Pickle.runtime), joinedload(Pickle.data_version))
    )
    return {pickle.id: pickle for pickle in pickles}


def _newest_runs(session: Session, pickle_ids: Sequence[str]) -> dict[str, Run]:
    """Return the latest run of each of these pickles, except diagnostics runs, by pickle."""
    newest = (
        sa.select(Run.id)
        .where(Run.pickle_id == Pickle.id, Run.diagnostics_id.is_(None))
        .order_by(Run.inserted_at.desc())
        .limit(1)
        .correlate(Pickle)
        .scalar_subquery()
    )
    ids = session.scalars(sa.select(newest).select_from(Pickle).where(Pickle.id.in_(pickle_ids))).all()
    runs = session.scalars(
        sa.select(Run)
        .where(Run.id.in_([run_id for run_id in ids if run_id is not None]))
        .options(joinedload(Run.round), selectinload(Run.statuses))
    )
    return {run.pickle_id: run for run in runs if run.pickle_id is not None}


def _outcomes(
    session: Session, models: Sequence[Model], rounds: Sequence[Round]
) -> dict[tuple[str | None, str | None], Outcome]:
    """Return the outcomes by the ids of model and round; a submission counts more than a run without one."""
    by_id: dict[str | None, Round] = {round_.id: round_ for round_ in rounds}
    model_ids, round_ids = [model.id for model in models], [round_.id for round_ in rounds]
    outcomes: dict[tuple[str | None, str | None], Outcome] = {}
    models_of: dict[str | None, list[str]] = defaultdict(list)
    for model in models:
        if model.pickle_id is not None:
            models_of[model.pickle_id].append(model.id)
    runs = session.execute(
        sa.select(Run.id, Run.pickle_id, Run.round_id, Run.state, Pickle.model_id)
        .join(Pickle, Pickle.id == Run.pickle_id)
        .where(Run.round_id.in_(round_ids), sa.or_(Pickle.model_id.in_(model_ids), Pickle.id.in_(list(models_of))))
        .order_by(Run.inserted_at)
    )
    for run in runs:
        kind = _KINDS.get(RunState(run.state), "running")
        for model_id in {*models_of[run.pickle_id], run.model_id}:
            outcomes[model_id, run.round_id] = Outcome(round=by_id[run.round_id], kind=kind, run_id=run.id)
    submissions = session.execute(
        sa.select(Submission.model_id, Submission.round_id, Submission.run_id, Submission.selected)
        .where(Submission.model_id.in_(model_ids), Submission.round_id.in_(round_ids))
        .order_by(Submission.selected, Submission.inserted_at)
    )
    for submission in submissions:
        key = (submission.model_id, submission.round_id)
        if key not in outcomes or outcomes[key].kind != "running":
            kind = "success" if submission.selected else "late"
            outcomes[key] = Outcome(round=by_id[submission.round_id], kind=kind, run_id=submission.run_id)
    return outcomes


def _diagnostics(session: Session, pickle_ids: Sequence[str]) -> dict[str, Diagnostics]:
    """Return the latest diagnostics of each of these pickles, by pickle."""
    rows = session.scalars(
        sa.select(Diagnostics).where(Diagnostics.pickle_id.in_(pickle_ids)).order_by(Diagnostics.inserted_at)
    )
    return {row.pickle_id: row for row in rows if row.pickle_id is not None}
