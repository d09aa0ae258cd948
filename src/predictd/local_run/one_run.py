"""Run a model, write its predictions to a file and send them to a presigned POST."""

import os
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from predictd.client.transfer import open_session, response_error, send
from predictd.data.mapped_cache import MappedCache
from predictd.data.mapping import Progress
from predictd.domain.errors import InvalidInputError
from predictd.domain.failures import ModelFailure
from predictd.domain.limits import Limits
from predictd.domain.runs import RunReport, RunRequest, RuntimePaths, SandboxKind
from predictd.local_run.inputs import Inputs
from predictd.sandbox import ForkPool, run
from predictd.scoring import check_submission, write_predictions_csv

_FIRST_SLOT = 500
_SLOTS = 499


@dataclass(frozen=True, kw_only=True)
class LocalResult:
    """The result of a run: either a file of predictions or a failure of the model."""

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
    """Run the model and check its predictions as the server does; write valid ones as CSV to `output_dir`.

    Args:
        inputs: the input files.
        runtime: the runtime.
        limits: limits of the run.
        output_dir: folder for `live_predictions-<12 hex>.csv`.
        kind: kind of sandbox; NONE runs the model as a plain process of this user.
        on_log: called with the output of the model.
        mapped: cache of mapped data files.
        progress: called with completed and total bytes of the conversion to mapped files.
        trees: whether to use compiled tables instead of the tree libraries, with the same result.

    Raises:
        PlatformError: The machine failed, not the model.
    """
    report = run_pickle(
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
    failure = check_submission(outcome, inputs.live_ids)
    if failure is not None:
        return LocalResult(report=report, failure=failure, predictions=None)
    path = output_dir / f"live_predictions-{secrets.token_hex(6)}.csv"
    write_predictions_csv(outcome, path)
    return LocalResult(report=report, failure=None, predictions=path)


def run_pickle(
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
    fork_pool: ForkPool | None = None,
) -> RunReport:
    """Run the model on data files, era by era if they have several; the predictions are not checked.

    With `without_targets` all targets are missing, as in live data. `fork_pool` forks the run if possible. The other
    arguments are those of `run_model`.

    Raises:
        PlatformError: The machine failed, not the model.
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
            # Concurrent runs, also those of a server's workers in slots from 0, need different slots.
            slot=_FIRST_SLOT + os.getpid() % _SLOTS,
            trees=trees,
        )
        return run(request, on_log=on_log, kind=kind, fork_pool=fork_pool)


@dataclass(frozen=True, kw_only=True)
class Post:
    """A presigned POST: its URL and its form fields in order."""

    url: str
    fields: tuple[tuple[str, str], ...]

    def send(self, path: Path) -> None:
        """Send the file as the form's field `file`; retry after a 5xx.

        Raises:
            TransferError: The response is neither 200 nor 204.
        """
        content = path.read_bytes()
        with open_session() as session:
            response = send(
                session, "POST", self.url, data=list(self.fields), files={"file": (path.name, content, "text/csv")}
            )
        if response.status_code not in (200, 204):
            raise response_error(self.url, response, f"The predictions are in {path}; request a new presigned POST.")


def parse_post(url: str, data: str) -> Post:
    """Parse a presigned POST of a URL and urlencoded fields.

    Raises:
        InvalidInputError: The fields are not urlencoded.
    """
    try:
        fields = parse_qsl(data, keep_blank_values=True, strict_parsing=True)
    except ValueError as error:
        raise InvalidInputError(f"--post_data must be urlencoded (key=value&key=value): {error}.") from error
    return Post(url=url, fields=tuple(fields))
