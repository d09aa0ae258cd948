"""`predictd test`: run a pickle several times as the server does, and check the results."""

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

from predictd.cli.options import (
    AsJson,
    DataServer,
    PickleFile,
    Runtime,
    Sandbox,
    TrustUsers,
    ValidationData,
    read_settings,
)
from predictd.cli.output import ModelLog, console, exit_with, print_findings, print_json, say
from predictd.cli.progress import Transfers, show_progress
from predictd.data.mapped_cache import MappedCache
from predictd.domain.errors import PredictdError
from predictd.domain.findings import Finding, Level, warn
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

MAX_ERAS = 20


def test(
    file: PickleFile,
    runtime: Runtime = None,
    data: ValidationData = None,
    server: DataServer = DEFAULT_SERVER,
    eras: Annotated[int, typer.Option(min=1, max=MAX_ERAS, help="Number of validation eras to run it on.")] = 4,
    sandbox: Sandbox = None,
    trust_users: TrustUsers = None,
    as_json: AsJson = False,
) -> None:
    """Test a pickle by running it as the server does: each check passes, warns or fails, with a fix.

    The pickle runs five times in the server's sandbox: twice on live data, once with the rows in another order, on a
    few validation eras, and on one of them alone. The model's output of the first run, and of a run that fails, goes to
    standard error. The exit code is 1 if a check fails.

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
            with show_progress("Reading the validation data") as on_progress:
                trial_data = prepare_test_data(source, live, trial_folder, eras=eras, progress=on_progress)
            mapped = MappedCache(folder=Path(folder) / "mapped")
            runner = _Runner(file=file, settings=settings, kind=kind, built=built, mapped=mapped)
            trial = _run_checks(trial_data, runner, missing)
    except PredictdError as error:
        raise exit_with(error, as_json=as_json) from error
    if as_json:
        print_json(_summary(file, trial, built, kind, source))
    else:
        print_findings(trial.findings)
        _conclude(trial, built)
    if trial.is_failed:
        raise typer.Exit(1)


@dataclass(frozen=True, kw_only=True)
class _Runner:
    """Runs the pickle as the server does."""

    file: Path
    settings: Settings
    kind: SandboxKind
    built: BuiltRuntime
    mapped: MappedCache

    def run(self, step: Step) -> RunReport:
        """Run the pickle once; print its output for the first run, and if it fails."""
        say(f"Run {step.number} of {RUNS}: {step.title}")
        chunks: list[bytes] = []
        limits = self.settings.limits
        with _clock():
            report = run_pickle(
                self.file,
                step.features,
                step.benchmarks,
                self.built.paths,
                replace(limits, seconds=limits.seconds * step.seconds),
                kind=self.kind,
                on_log=chunks.append,
                mapped=self.mapped,
                trees=self.settings.trees,
                without_targets=step.is_validation,
            )
        if step.number == 1 or report.failure is not None:
            log = ModelLog()
            for chunk in chunks:
                log.write(chunk)
            log.close()
        return report


@contextmanager
def _clock() -> Iterator[None]:
    """Show the elapsed time on a terminal."""
    if not console.is_terminal:
        yield
        return
    with Progress(SpinnerColumn(), TimeElapsedColumn(), console=console, transient=True) as clock:
        clock.add_task("")
        yield


def _run_checks(data: ModelTestData, runner: _Runner, missing: str | None) -> ModelTest:
    say(f"Testing {runner.file} in {runner.built.display_name}")
    trial = ModelTest(data=data, limits=runner.settings.limits, run=runner.run)
    if missing:
        sentence = "It ran without isolation, with access to your files and the network, unlike on the server."
        fix = f"Test it on a machine that isolates models. {missing}"
        trial.findings.append(warn("sandbox", "not_isolated", sentence, fix))
    trial.findings += check_second_parameter(inspect_pickle(runner.file))
    if trial.check_live():
        with (
            open_validation(data.folder, runner.mapped) as validation,
            show_progress("Computing the metrics") as on_progress,
        ):
            trial.check_eras(validation, on_progress)
        trial.check_cost()
    return trial


def _conclude(trial: ModelTest, built: BuiltRuntime) -> None:
    failures = [finding for finding in trial.findings if finding.level is Level.FAIL]
    warnings = [finding for finding in trial.findings if finding.level is Level.WARN]
    runtime = built.display_name
    if failures and failures[0].topic == "submission":
        say(f"No valid submission in {runtime}; the other checks did not run.")
    elif failures:
        say(f"The pickle runs in {runtime}, but {_count(failures)} failed.")
    elif warnings:
        say(f"The pickle runs in {runtime}, with warnings from {_count(warnings)}.")
    else:
        say(f"No problems found in {runtime}.")


def _count(findings: list[Finding]) -> str:
    return "1 check" if len(findings) == 1 else f"{len(findings)} checks"


def _summary(file: Path, trial: ModelTest, built: BuiltRuntime, kind: SandboxKind, source: Path) -> dict[str, Any]:
    return {
        "file": file,
        "ok": not trial.is_failed,
        "runtime": {"name": built.display_name, "image": built.image_name, "tag": built.tag},
        "sandbox": kind.value,
        "data": source,
        "eras": trial.data.eras,
        "findings": [asdict(finding) for finding in trial.findings],
        "limits": asdict(trial.limits),
        "forecast": None if trial.cost_estimate is None else asdict(trial.cost_estimate),
        "diagnostics": None if trial.figures is None else trial.figures.wire(),
    }
