"""`predictd test`: a model tried as the server would run it, and what could go wrong."""

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn

from predictd.cli.diagnostics_options import show_progress
from predictd.cli.findings import print_findings
from predictd.cli.options import AsJson, Runtime, Sandbox, Server, TrustUsers, read_settings
from predictd.cli.output import console, print_json, refused, say
from predictd.cli.run import ModelLog
from predictd.cli.transfers import Transfers
from predictd.data.mapped_cache import MappedCache
from predictd.domain.errors import PredictdError
from predictd.domain.findings import Level, warn
from predictd.domain.runs import RunReport, SandboxKind
from predictd.local_run import DEFAULT_SERVER, choose_runtime, run_pickle, validation_folder
from predictd.local_run.model_test import RUNS, ModelTest, Step
from predictd.local_run.test_data import ModelTestData, find_live, prepare_test_data
from predictd.pickles.compatibility import check_second_parameter
from predictd.pickles.inspection import inspect_pickle
from predictd.runtimes import BuiltRuntime
from predictd.sandbox import choose_sandbox
from predictd.scoring.validation import open_validation
from predictd.settings import Settings

_MOST_ERAS = 20


def test(
    file: Annotated[Path, typer.Argument(help="The pickle.", exists=True, dir_okay=False, show_default=False)],
    runtime: Runtime = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Folder of a data version, with validation.parquet and live.parquet, or its name at the server.",
            show_default="the server's newest, fetched once",
        ),
    ] = None,
    server: Server = DEFAULT_SERVER,
    eras: Annotated[int, typer.Option(min=1, max=_MOST_ERAS, help="How many validation eras it is tried on.")] = 4,
    sandbox: Sandbox = None,
    trust_users: TrustUsers = None,
    as_json: AsJson = False,
) -> None:
    """Try a pickle as the server would run it: pass, warn or fail for each point, with the fix.

    It is run five times in the server's sandbox: on live data, on the same again, with the rows in another order, on
    a few validation eras, and on one of them alone. What the model prints the first time, and whenever it fails, goes
    to standard error. The exit code is 1 when a point fails.

    Example: predictd test model.pkl --data ./v5.3 --runtime 3.12
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        settings = read_settings(sandbox=sandbox, trust_users=trust_users)
        kind, missing = choose_sandbox(settings.sandbox, trust_users=settings.trust_users)
        with Transfers() as downloads:
            source = validation_folder(data, server, settings.laptop_cache / "data", downloads.show)
        built = choose_runtime(runtime, settings.runtimes_home, say)
        with tempfile.TemporaryDirectory(prefix="predictd-test-") as folder:
            with Transfers() as downloads:
                live = find_live(source, server, settings.laptop_cache / "data", Path(folder), downloads.show)
            trial_folder = Path(folder) / "trial"
            trial_folder.mkdir()
            with show_progress("Reading the validation data") as tell:
                found = prepare_test_data(source, live, trial_folder, eras=eras, progress=tell)
            mapped = MappedCache(folder=Path(folder) / "mapped")
            runs = _Runs(file=file, settings=settings, kind=kind, built=built, mapped=mapped)
            trial = _tried(found, runs, missing)
    except PredictdError as error:
        raise refused(error, as_json=as_json) from error
    if as_json:
        print_json(_summary(file, trial, built, kind, source))
    else:
        print_findings(trial.findings)
        _conclude(trial, built)
    if trial.is_failed:
        raise typer.Exit(1)


@dataclass(frozen=True, kw_only=True)
class _Runs:
    """Runs the pickle, as the server does."""

    file: Path
    settings: Settings
    kind: SandboxKind
    built: BuiltRuntime
    mapped: MappedCache

    def run(self, step: Step) -> RunReport:
        """Run it once, saying so; what it prints is shown if it is new."""
        say(f"Run {step.number} of {RUNS}: {step.title}")
        log = _KeptLog()
        limits = self.settings.limits
        with _clock():
            report = run_pickle(
                self.file,
                step.features,
                step.benchmarks,
                self.built.paths,
                replace(limits, seconds=limits.seconds * step.seconds),
                kind=self.kind,
                on_log=log.write,
                mapped=self.mapped,
                trees=self.settings.trees,
                without_targets=step.is_validation,
            )
        if step.number == 1 or report.failure is not None:
            log.show()
        return report


@contextmanager
def _clock() -> Iterator[None]:
    """On a terminal, the seconds that go by."""
    if not console.is_terminal:
        yield
        return
    with Progress(SpinnerColumn(), TimeElapsedColumn(), console=console, transient=True) as clock:
        clock.add_task("")
        yield


class _KeptLog:
    """What a model prints, kept until it is known whether anybody wants to see it."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def write(self, chunk: bytes) -> None:
        """Keep the next bytes; the sandbox stops a model that prints too much."""
        self._chunks.append(chunk)

    def show(self) -> None:
        """Show them all."""
        log = ModelLog()
        for chunk in self._chunks:
            log.write(chunk)
        log.close()


def _tried(data: ModelTestData, runs: _Runs, missing: str | None) -> ModelTest:
    say(f"Testing {runs.file} in {runs.built.display_name}")
    trial = ModelTest(data=data, limits=runs.settings.limits, run=runs.run)
    if missing:
        words = "It ran without isolation, so it saw your files and the network, as it won't on the server."
        fix = f"Try it where models are isolated. {missing}"
        trial.findings.append(warn("sandbox", "not_isolated", words, fix))
    trial.findings += check_second_parameter(inspect_pickle(runs.file))
    if trial.check_live():
        with open_validation(data.folder, runs.mapped) as validation, show_progress("Computing the figures") as tell:
            trial.check_eras(validation, tell)
        trial.check_cost()
    return trial


def _conclude(trial: ModelTest, built: BuiltRuntime) -> None:
    failed = [one for one in trial.findings if one.level is Level.FAIL]
    warned = [one for one in trial.findings if one.level is Level.WARN]
    where = f"in {built.display_name}"
    if failed and failed[0].topic == "submission":
        say(f"There is no valid submission {where}; the rest was not tried.")
    elif failed:
        say(f"It runs {where}, but {len(failed)} {'point fails' if len(failed) == 1 else 'points fail'}.")
    elif warned:
        say(f"It runs {where}; {len(warned)} {'point needs' if len(warned) == 1 else 'points need'} a look.")
    else:
        say(f"Nothing speaks against it {where}.")


def _summary(file: Path, trial: ModelTest, built: BuiltRuntime, kind: SandboxKind, source: Path) -> dict[str, Any]:
    return {
        "file": file,
        "ok": not trial.is_failed,
        "runtime": {"name": built.display_name, "image": built.image_name, "tag": built.tag},
        "sandbox": kind.value,
        "data": source,
        "eras": trial.data.eras,
        "findings": [asdict(one) for one in trial.findings],
        "limits": asdict(trial.limits),
        "forecast": None if trial.cost_estimate is None else asdict(trial.cost_estimate),
        "diagnostics": None if trial.figures is None else trial.figures.wire(),
    }
