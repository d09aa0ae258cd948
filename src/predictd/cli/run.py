"""`predictd run`: run a model on this machine as the server does."""

import shlex
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from predictd.cli.options import AsJson, DataServer, Runtime, Sandbox, TrustUsers, read_settings
from predictd.cli.output import ModelLog, console, exit_with, print_json, say
from predictd.cli.progress import Transfers
from predictd.data.mapped_cache import MappedCache
from predictd.domain.errors import InvalidInputError, PredictdError
from predictd.domain.failures import ModelFailure
from predictd.domain.runs import SandboxKind
from predictd.local_run import (
    DEFAULT_SERVER,
    InputOptions,
    Inputs,
    LocalResult,
    Post,
    choose_runtime,
    collect_inputs,
    parse_post,
    run_model,
)
from predictd.runtimes import BuiltRuntime
from predictd.sandbox import choose_sandbox
from predictd.settings import Settings


def run(
    model: Annotated[str, typer.Option(help="Path or URL of the pickle.", show_default=False)],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Live features: a parquet file, a URL, or a name on the server such as v5.3/live.parquet.",
            show_default="live.parquet of the server's newest data version",
        ),
    ] = None,
    benchmarks: Annotated[
        str | None,
        typer.Option(
            help="Live benchmark models: a parquet file, a URL, or a name on the server.",
            show_default="live_benchmark_models.parquet beside the live features, if it exists",
        ),
    ] = None,
    output_dir: Annotated[
        Path, typer.Option("--output_dir", "--output-dir", help="Folder for the predictions and downloads.")
    ] = Path("/tmp"),  # noqa: S108 (the default of the public container)
    post_url: Annotated[
        str | None, typer.Option("--post_url", "--post-url", help="URL of a presigned POST to send the predictions to.")
    ] = None,
    post_data: Annotated[
        str | None, typer.Option("--post_data", "--post-data", help="Form fields of the presigned POST, urlencoded.")
    ] = None,
    runtime: Runtime = None,
    server: DataServer = DEFAULT_SERVER,
    debug: Annotated[bool, typer.Option("--debug", help="Print the inputs, limits and stages of the run.")] = False,
    sandbox: Sandbox = None,
    trust_users: TrustUsers = None,
    as_json: AsJson = False,
) -> None:
    """Run a pickle on this machine as the server does, with the same sandbox, limits, checks and messages.

    Valid predictions are saved as live_predictions-<12 hex>.csv in the output folder, with exit code 0. The exit code
    is 1 if the model fails or a file is unavailable, and 2 for invalid options. The model's output goes to standard
    error. The settings PREDICTD_RUN_* set the limits. The first run builds the runtime, which takes a few minutes.

    Example: predictd run --debug --model model.pkl --dataset v5.3/live.parquet
    """
    post = _parse_post(post_url, post_data)
    if not output_dir.is_dir():
        raise typer.BadParameter(f"{output_dir} is not an existing folder", param_hint="--output_dir")
    signal.signal(signal.SIGTERM, _stop)
    source = InputOptions(model=model, dataset=dataset, benchmarks=benchmarks, server=server)
    try:
        settings = read_settings(sandbox=sandbox, trust_users=trust_users)
        report = _Report(settings=settings, debug=debug)
        kind, missing = choose_sandbox(settings.sandbox, trust_users=settings.trust_users)
        if missing:
            report.detail(f"  The model runs without isolation, because of --trust-users: {missing}")
        with Transfers() as downloads:
            inputs = collect_inputs(source, output_dir, downloads.show)
        built = choose_runtime(runtime, settings.runtimes_home, say)
        report.begin(inputs, built)
        log = ModelLog()
        # Redirecting standard error would break the escape sequences that the log writes on a terminal.
        bars = Progress(
            TextColumn("Preparing the data"), BarColumn(), console=console, transient=True, redirect_stderr=False
        )
        task = bars.add_task("Preparing", visible=False)

        def show_log(chunk: bytes) -> None:
            bars.live.stop()
            log.write(chunk)

        if console.is_terminal:
            bars.start()
        try:
            result = run_model(
                inputs,
                built.paths,
                settings.limits,
                output_dir,
                kind=kind,
                on_log=show_log,
                mapped=MappedCache(folder=settings.laptop_mapped_home, limit=settings.mapped_cache_gb * 10**9),
                progress=lambda done, total: bars.update(task, completed=done, total=total, visible=done < total),
                trees=settings.trees,
            )
        finally:
            bars.live.stop()
        log.close()
        report.end(result)
        if result.predictions is not None and post is not None:
            post.send(result.predictions)
            say(f"Sent the predictions to {post.url.partition('?')[0]}.")
    except PredictdError as error:
        raise exit_with(error, as_json=as_json) from error
    if as_json:
        print_json(_summary(result, inputs, built, settings, kind, sent=post is not None))
    if result.failure is not None:
        _explain(result.failure, inputs, sys.argv[1:], debug=debug)
        raise typer.Exit(1)


class _Report:
    """Messages about the run."""

    def __init__(self, *, settings: Settings, debug: bool) -> None:
        self._settings = settings
        self._debug = debug

    def detail(self, line: str) -> None:
        """Print a line with --debug."""
        if self._debug:
            say(line)

    def begin(self, inputs: Inputs, built: BuiltRuntime) -> None:
        limits = self._settings.limits
        say(f"Running {inputs.model} on {len(inputs.live_ids)} live ids in {built.display_name}")
        self.detail(f"  live features:    {inputs.live}")
        self.detail(f"  benchmark models: {inputs.benchmarks or 'none'}")
        self.detail(f"  runtime:          {built.image_name}:{built.tag} in {built.folder}")
        self.detail(
            f"  limits:           {limits.cpus:g} CPU, {limits.memory_bytes >> 20} MiB, {limits.seconds:g} s, "
            f"{limits.processes} processes, {limits.scratch_bytes >> 20} MiB scratch"
        )

    def end(self, result: LocalResult) -> None:
        for stage, seconds in result.report.stages.items():
            self.detail(f"  {stage:<9} {seconds:8.3f} s")
        if result.predictions is not None:
            say(result.report.use(self._settings.limits).describe())
            say(f"Success: saved the predictions in {result.predictions}")
        elif result.report.peak_memory_bytes:
            self.detail(f"  peak memory: {result.report.peak_memory_bytes >> 20} MiB")


def _parse_post(url: str | None, data: str | None) -> Post | None:
    if url is None and data is None:
        return None
    if url is None or data is None:
        missing, present = ("--post_url", "--post_data") if url is None else ("--post_data", "--post_url")
        raise typer.BadParameter(f"{present} also needs {missing}; a presigned POST has both")
    try:
        return parse_post(url, data)
    except InvalidInputError as error:
        raise typer.BadParameter(error.message) from error


def _explain(failure: ModelFailure, inputs: Inputs, arguments: list[str], *, debug: bool) -> None:
    """Print why the model failed and what to try next."""
    console.print(Text.assemble(("failed", "bold red"), f" ({failure.code}): "), end="")
    console.print(failure.describe(), soft_wrap=True)
    python = failure.facts.get("pickle_python", "").partition(" ")[0]
    if python:
        say(f"Run it with the Python that created it: predictd {shlex.join(_with_runtime(arguments, python))}")
    elif failure.code == "bad_signature" and inputs.benchmarks is None:
        say("The run had no benchmark models. Pass them with --benchmarks.")
    elif not debug:
        say(f"Show the details of the run: predictd {shlex.join([*arguments, '--debug'])}")


def _with_runtime(arguments: list[str], python: str) -> list[str]:
    """Replace the option --runtime of a command line."""
    result = []
    is_value = False
    for argument in arguments:
        if not is_value and argument != "--runtime" and not argument.startswith("--runtime="):
            result.append(argument)
        is_value = argument == "--runtime"
    return [*result, "--runtime", python]


def _summary(
    result: LocalResult, inputs: Inputs, built: BuiltRuntime, settings: Settings, kind: SandboxKind, *, sent: bool
) -> dict[str, Any]:
    report, failure = result.report, result.failure
    return {
        "ok": failure is None,
        "code": None if failure is None else failure.code,
        "cause": None if failure is None else failure.cause,
        "message": report.use(settings.limits).describe() if failure is None else failure.describe(),
        "predictions": result.predictions,
        "sent": sent and failure is None,
        "stages": report.stages,
        "peak_memory_bytes": report.peak_memory_bytes,
        "limits": asdict(settings.limits),
        "sandbox": kind.value,
        "runtime": {
            "name": built.display_name,
            "image": built.image_name,
            "tag": built.tag,
            "python": str(built.executable),
        },
        "model": inputs.model,
        "dataset": inputs.live,
        "benchmarks": inputs.benchmarks,
    }


def _stop(_number: int, _frame: object) -> NoReturn:
    """Exit on SIGTERM, which the first process of a container ignores by default; the run ends with this process."""
    sys.exit(128 + signal.SIGTERM)
