"""The run itself, and its predictions as a file."""

import os
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from predictd.data.mapped_cache import MappedCache
from predictd.data.mapping import Progress
from predictd.domain.failures import ModelFailure
from predictd.domain.limits import Limits
from predictd.domain.runs import RunReport, RunRequest, RuntimePaths, SandboxKind
from predictd.local_run.inputs import Inputs
from predictd.sandbox import WarmParents, run
from predictd.scoring import check_submission, write_predictions_csv

_FIRST_SLOT = 500
_SLOTS = 499


@dataclass(frozen=True, kw_only=True)
class LocalResult:
    """How a run ended: with a file of predictions or with the model's failure, never with both."""

    report: RunReport
    failure: ModelFailure | None
    predictions: Path | None


def run_model(
    inputs: Inputs,
    runtime: RuntimePaths,
    limits: Limits,
    output_dir: Path,
    *,
    kind: SandboxKind,
    on_log: Callable[[bytes], None],
    mapped: MappedCache,
    progress: Progress | None = None,
    trees: bool = True,
) -> LocalResult:
    """Run the model and check its predictions as the server does; right ones become a CSV in `output_dir`.

    Args:
        inputs: the files of the run.
        runtime: in which Python it runs.
        limits: what it may use.
        output_dir: gets `live_predictions-<12 hex>.csv`.
        kind: what isolates it; NONE runs the model as a plain process of this user.
        on_log: gets what the model prints, as it comes.
        mapped: where data files are kept in the form that runs map.
        progress: told the done and the total of what is converted to that form.
        trees: whether compiled tables answer for the tree libraries where that gives the same.

    Raises:
        PlatformError: the machine is at fault, not the model.
    """
    report = run_on(
        inputs.model,
        inputs.live,
        inputs.benchmarks,
        runtime,
        limits,
        kind=kind,
        on_log=on_log,
        mapped=mapped,
        progress=progress,
        trees=trees,
    )
    outcome = report.outcome()
    if isinstance(outcome, ModelFailure):
        return LocalResult(report=report, failure=outcome, predictions=None)
    wrong = check_submission(outcome, inputs.live_ids)
    if wrong is not None:
        return LocalResult(report=report, failure=wrong, predictions=None)
    path = output_dir / f"live_predictions-{secrets.token_hex(6)}.csv"
    write_predictions_csv(outcome, path)
    return LocalResult(report=report, failure=None, predictions=path)


def run_on(
    model: Path,
    features: Path,
    benchmarks: Path | None,
    runtime: RuntimePaths,
    limits: Limits,
    *,
    kind: SandboxKind,
    on_log: Callable[[bytes], None],
    mapped: MappedCache,
    progress: Progress | None = None,
    trees: bool = True,
    without_targets: bool = False,
    parents: WarmParents | None = None,
) -> RunReport:
    """Run the model on those data files, era by era if they have several; its predictions are unchecked.

    With `without_targets` it sees none, as in live data. `parents` are what it is forked from, if it can be. The other
    arguments are those of `run_model`.

    Raises:
        PlatformError: the machine is at fault, not the model.
    """
    with ExitStack() as files:
        features = files.enter_context(mapped.held(features, progress=progress, without_targets=without_targets))
        if benchmarks is not None:
            benchmarks = files.enter_context(mapped.held(benchmarks, progress=progress))
        request = RunRequest(
            pickle=model,
            live=features,
            benchmarks=benchmarks,
            runtime=runtime,
            limits=limits,
            # Runs beside each other, and beside those of a server's workers, which count from 0, are different users.
            slot=_FIRST_SLOT + os.getpid() % _SLOTS,
            trees=trees,
        )
        return run(request, on_log=on_log, kind=kind, parents=parents)
