"""Replaying the assigned pickles of one runtime in another, to see what an upgrade would break or move.

Reads the database and storage, and changes neither.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from predictd.data import read_ids
from predictd.data.layout import round_key, version_key
from predictd.data.schema import LIVE_BENCHMARKS_FILE, LIVE_FILE
from predictd.db.models import Model, Pickle, Round
from predictd.db.rounds import latest_round
from predictd.domain.errors import PlatformError
from predictd.domain.failures import ModelFailure
from predictd.domain.limits import Limits
from predictd.domain.names import CLASSIC
from predictd.domain.runs import RunReport, RunRequest, RuntimePaths, SandboxKind
from predictd.sandbox import run
from predictd.scoring import check_submission
from predictd.storage import Storage
from predictd.uploads.assignment import assigned_models
from predictd.worker.execution import local_data

UNCHANGED = 1e-8
"""Predictions that differ by no more than this count as the same: another order of additions does as much."""

_SLOT = 998


@dataclass(frozen=True, kw_only=True)
class Case:
    """One pickle to replay: whose it is, and the objects in storage that its runs read."""

    pickle_id: str
    filename: str
    models: tuple[str, ...]
    pickle_key: str
    live_key: str
    benchmarks_key: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one run ended.

    Attributes:
        code: 'success', the code of the model's failure, or 'platform' when the platform failed.
        message: what went wrong, with the remedy; empty for a success.
        predictions: by live id, in the order of the live data; None unless the run succeeded.
        seconds: from the start of the sandbox to its end.
        peak_memory_bytes: the most memory held at once, 0 if unknown.
    """

    code: str
    message: str
    predictions: NDArray[np.float64] | None
    seconds: float
    peak_memory_bytes: int

    @property
    def succeeded(self) -> bool:
        """Whether its predictions would have been submitted."""
        return self.predictions is not None


@dataclass(frozen=True, kw_only=True)
class Movement:
    """How predictions in B differ from those in A: correlations, absolute differences, and the share of ids changed."""

    spearman: float
    pearson: float
    max_difference: float
    mean_difference: float
    changed: float


class Verdict(StrEnum):
    """What an upgrade would mean for a pickle."""

    SAME = "same"
    MOVES = "moves"
    BREAKS = "breaks"
    REPAIRED = "works in B only"
    FAILS = "fails in both"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A pickle in both runtimes; `movement` is None unless both runs succeeded."""

    case: Case
    a: Outcome
    b: Outcome
    movement: Movement | None

    @property
    def verdict(self) -> Verdict:
        """What the upgrade would mean for this pickle."""
        if "platform" in {self.a.code, self.b.code}:
            return Verdict.UNKNOWN
        if self.movement is not None:
            return Verdict.MOVES if self.movement.changed else Verdict.SAME
        if self.a.succeeded:
            return Verdict.BREAKS
        return Verdict.REPAIRED if self.b.succeeded else Verdict.FAILS


def find_cases(session: Session, storage: Storage, runtime_id: str, now: datetime) -> list[Case]:
    """The pickles of a runtime that sit in the slots of models in use, oldest first.

    Their data are those of the newest round that has opened, or the data version's own where it has none.
    """
    slots = sa.select(Model.pickle_id).where(Model.pickle_id.is_not(None), Model.archived_at.is_(None))
    pickles = session.scalars(
        sa.select(Pickle).where(Pickle.runtime_id == runtime_id, Pickle.id.in_(slots)).order_by(Pickle.inserted_at)
    ).all()
    newest = latest_round(session, CLASSIC, now)
    return [case_of(session, storage, pickle, newest) for pickle in pickles]


def count_cases(session: Session) -> dict[str, int]:
    """How many pickles in the slots of models in use each runtime has, by its id."""
    counted = session.execute(
        sa.select(Pickle.runtime_id, sa.func.count(sa.distinct(Pickle.id)))
        .join(Model, Model.pickle_id == Pickle.id)
        .where(Model.archived_at.is_(None))
        .group_by(Pickle.runtime_id)
    )
    return {row[0]: row[1] for row in counted}


def check_upgrade(
    storage: Storage,
    cases: Sequence[Case],
    a: RuntimePaths,
    b: RuntimePaths,
    limits: Limits,
    *,
    kind: SandboxKind,
    on_run: Callable[[Case, str], None],
) -> Iterator[Replay]:
    """Run each pickle in both runtimes, one run after the other, as a round would.

    Args:
        storage: where the pickles and the live data are.
        cases: what to replay.
        a: the runtime that the pickles have.
        b: the runtime that they might get.
        limits: what one run may use.
        kind: what isolates the models.
        on_run: called before each run, with the case and 'A' or 'B'.
    """
    for case in cases:
        outcomes = []
        for name, runtime in (("A", a), ("B", b)):
            on_run(case, name)
            outcomes.append(replay(storage, case, runtime, limits, kind))
        first, second = outcomes
        movement = None
        if first.predictions is not None and second.predictions is not None:
            movement = compare(first.predictions, second.predictions)
        yield Replay(case=case, a=first, b=second, movement=movement)


def compare(a: NDArray[np.float64], b: NDArray[np.float64]) -> Movement:
    """How predictions moved; both have the same ids in the same order, and neither is constant."""
    differences = np.abs(a - b)
    return Movement(
        spearman=_correlation(_ranks(a), _ranks(b)),
        pearson=_correlation(a, b),
        max_difference=float(differences.max()),
        mean_difference=float(differences.mean()),
        changed=float(np.mean(differences > UNCHANGED)),
    )


def case_of(session: Session, storage: Storage, pickle: Pickle, newest: Round | None) -> Case:
    """The pickle on the live data of a round, or on its data version's own where the round, if any, has none."""
    version = pickle.data_version.name
    keys = {name: version_key(version, name) for name in (LIVE_FILE, LIVE_BENCHMARKS_FILE)}
    if newest is not None and storage.stat(round_key(version, newest.number, LIVE_FILE)) is not None:
        keys = {name: round_key(version, newest.number, name) for name in keys}
    return Case(
        pickle_id=pickle.id,
        filename=pickle.filename,
        models=tuple(model.name for model in assigned_models(session, pickle)),
        pickle_key=pickle.storage_key,
        live_key=keys[LIVE_FILE],
        benchmarks_key=keys[LIVE_BENCHMARKS_FILE],
    )


def replay(storage: Storage, case: Case, runtime: RuntimePaths, limits: Limits, kind: SandboxKind) -> Outcome:
    """Run a pickle on its live data as a round would, and check what it answers."""
    started = time.monotonic()
    peak = 0
    try:
        with ExitStack() as files:
            live, benchmarks = local_data(storage, case.live_key, case.benchmarks_key, files)
            request = RunRequest(
                pickle=files.enter_context(storage.local_path(case.pickle_key)),
                live=live,
                benchmarks=benchmarks,
                runtime=runtime,
                limits=limits,
                slot=_SLOT,
            )
            report = run(request, on_log=lambda _: None, kind=kind)
            live_ids = read_ids(live)
        seconds, peak = time.monotonic() - started, report.peak_memory_bytes
        code, message, values = _judge(report, live_ids)
    except PlatformError as error:
        seconds = time.monotonic() - started
        code, message, values = "platform", error.message, None
    return Outcome(code=code, message=message, predictions=values, seconds=seconds, peak_memory_bytes=peak)


def _judge(report: RunReport, live_ids: list[str]) -> tuple[str, str, NDArray[np.float64] | None]:
    """Code, message and, of a valid submission, the values in the order of the live ids."""
    predictions = report.outcome()
    if isinstance(predictions, ModelFailure):
        return predictions.code, predictions.describe(), None
    failure = check_submission(predictions, live_ids)
    if failure is not None:
        return failure.code, failure.describe(), None
    row_by_id = {id_: i for i, id_ in enumerate(predictions.ids)}
    return "success", "", np.asarray(predictions.values)[[row_by_id[id_] for id_ in live_ids]]


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 1 else 1.0


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0 on, those of equal values averaged."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    averages: NDArray[np.float64] = last - (counts - 1) / 2
    return averages[which]
