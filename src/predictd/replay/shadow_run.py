"""A pickle run beside the one that is assigned to a model, without submitting anything.

Reads the database and storage, and changes neither. What both did on validation data is taken from their diagnostics.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

import pyarrow.parquet as pq
import sqlalchemy as sa
from sqlalchemy.orm import Session, undefer

from predictd.data.layout import version_key
from predictd.data.mapped_cache import MappedCache
from predictd.data.schema import VALIDATION_FILES
from predictd.db.model_queries import find_model
from predictd.db.models import Diagnostics, Model, Pickle, Runtime
from predictd.db.rounds import latest_round
from predictd.domain.errors import ConflictError, NotFoundError
from predictd.domain.failures import ModelFailure
from predictd.domain.limits import Limits
from predictd.domain.runs import RuntimePaths, SandboxKind
from predictd.domain.states import DiagnosticsStatus
from predictd.replay.runtime_upgrade_check import Case, Movement, Outcome, case_of, compare, replay
from predictd.scoring.evaluation_data import numbers
from predictd.scoring.metrics import Comparison, correlations_by_era
from predictd.scoring.metrics import Diagnostics as Figures
from predictd.scoring.metrics import compare as compare_figures
from predictd.scoring.metrics.ranks import Floats
from predictd.scoring.validation import ValidationData, open_validation
from predictd.storage import Storage
from predictd.uploads.diagnostics import description_of, status_of


@dataclass(frozen=True, kw_only=True)
class ShadowSide:
    """One of the two pickles.

    Attributes:
        name: what to call it.
        case: its run on live data.
        runtime_folder: of its runtime.
        version: its data version.
        figures: of its diagnostics, None if it has none.
        predictions_key: where the validation predictions lie, None if there are none.
        waits_for: what keeps its diagnostics from being compared, None if nothing does.
    """

    name: str
    case: Case
    runtime_folder: str
    version: str
    figures: Figures | None
    predictions_key: str | None
    waits_for: str | None


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """Both runs, how the predictions on live data differ, and how the figures on the validation data do.

    `movement` is None unless both runs succeeded, `comparison` unless both have diagnostics on the same data version.
    """

    assigned: ShadowSide
    new: ShadowSide
    runs: tuple[Outcome, Outcome]
    movement: Movement | None
    comparison: Comparison | None


def find_sides(
    session: Session, storage: Storage, tournament: int, model_name: str, pickle_name: str | None, now: datetime
) -> tuple[ShadowSide, ShadowSide]:
    """The pickle that is assigned to the model, and the one to run beside it.

    Args:
        session: a reading transaction.
        storage: where the live data are.
        tournament: of the model.
        model_name: its name.
        pickle_name: id, filename or label of a pickle of the same account; None means its newest other one.
        now: the moment.

    Raises:
        NotFoundError: there is no such model or pickle.
        ConflictError: the model has no pickle assigned.
    """
    model = find_model(session, model_name, tournament)
    if model is None:
        raise NotFoundError(f"There is no model {model_name[:64]!r}.")
    if model.pickle_id is None:
        raise ConflictError(f"Model {model.name} has no pickle assigned, so there is nothing to compare with.")
    assigned, new = session.get_one(Pickle, model.pickle_id), _candidate_pickle(session, model, pickle_name)
    newest = latest_round(session, tournament, now)
    return (
        _side(session, assigned, case_of(session, storage, assigned, newest), "assigned"),
        _side(session, new, case_of(session, storage, new, newest), "new"),
    )


def run_shadow(
    storage: Storage,
    sides: tuple[ShadowSide, ShadowSide],
    limits: Limits,
    mapped: MappedCache,
    *,
    find_runtime: Callable[[str], RuntimePaths],
    kind: SandboxKind,
    on_run: Callable[[ShadowSide], None],
) -> Shadow:
    """Run both on the same live data, one after the other, and compare all that is known of them.

    Args:
        storage: where pickles and data are.
        sides: the assigned one and the new one.
        limits: what one run may use.
        mapped: cache of memory-mapped data files.
        find_runtime: where the runtime in a folder lies on this machine.
        kind: what isolates the models.
        on_run: called before each run.
    """
    runs = []
    for side in sides:
        on_run(side)
        runs.append(replay(storage, side.case, find_runtime(side.runtime_folder), limits, kind))
    first, second = runs
    movement = None
    if first.predictions is not None and second.predictions is not None and sides[0].version == sides[1].version:
        movement = compare(first.predictions, second.predictions)
    comparison = None
    if sides[0].figures is not None and sides[1].figures is not None and sides[0].version == sides[1].version:
        comparison = compare_figures(
            sides[0].figures,
            sides[1].figures,
            names=(sides[0].name, sides[1].name),
            correlations=_correlations(storage, sides, mapped),
        )
    return Shadow(assigned=sides[0], new=sides[1], runs=(first, second), movement=movement, comparison=comparison)


def _candidate_pickle(session: Session, model: Model, pickle_name: str | None) -> Pickle:
    query = sa.select(Pickle).where(Pickle.account_id == model.account_id, Pickle.id != model.pickle_id)
    if pickle_name is not None:
        named = sa.or_(Pickle.id == pickle_name, Pickle.filename == pickle_name, Pickle.label == pickle_name)
        query = query.where(named)
    pickle = session.scalar(query.order_by(Pickle.inserted_at.desc()).limit(1))
    if pickle is None:
        what = f"no pickle {pickle_name[:64]!r} besides" if pickle_name is not None else "no other pickle than"
        raise NotFoundError(
            f"The account of model {model.name} has {what} the assigned one; upload the new one without a model first."
        )
    return pickle


def _side(session: Session, pickle: Pickle, case: Case, name: str) -> ShadowSide:
    diagnostics = session.scalar(
        sa.select(Diagnostics)
        .where(Diagnostics.pickle_id == pickle.id)
        .order_by(Diagnostics.inserted_at.desc())
        .limit(1)
        .options(undefer(Diagnostics.figures))
    )
    done = diagnostics is not None and status_of(diagnostics) is DiagnosticsStatus.DONE
    figures = diagnostics.figures if diagnostics is not None and done else None
    waits_for = None
    if figures is None:
        status = "it has none" if diagnostics is None else description_of(diagnostics) or status_of(diagnostics).value
        waits_for = f"The diagnostics of {pickle.filename} can't be compared: {status}"
    return ShadowSide(
        name=f"{name} ({pickle.label or pickle.filename})",
        case=case,
        runtime_folder=session.get_one(Runtime, pickle.runtime_id).folder,
        version=pickle.data_version.name,
        figures=None if figures is None else Figures.from_wire(figures),
        predictions_key=diagnostics.storage_key if diagnostics is not None and done else None,
        waits_for=waits_for,
    )


def _correlations(storage: Storage, sides: tuple[ShadowSide, ShadowSide], mapped: MappedCache) -> Floats | None:
    """How alike the predictions of both are in each era of the validation data."""
    with ExitStack() as files:
        folder = files.enter_context(storage.local_folder(version_key(sides[0].version), VALIDATION_FILES))
        validation = files.enter_context(open_validation(folder, mapped, features=False))
        placed = [_placed(storage, side, validation, files) for side in sides]
    first, second = placed
    if first is None or second is None:
        return None
    return correlations_by_era(first, second, validation.truth.bounds)


def _placed(storage: Storage, side: ShadowSide, validation: ValidationData, files: ExitStack) -> Floats | None:
    if side.predictions_key is None or storage.stat(side.predictions_key) is None:
        return None
    table = pq.read_table(files.enter_context(storage.local_path(side.predictions_key))).combine_chunks()
    ids = table.column("id").combine_chunks().cast(validation.ids.type)
    placed = validation.align(ids, numbers(table.column("prediction").combine_chunks()), is_complete=True)
    return None if isinstance(placed, ModelFailure) else placed
