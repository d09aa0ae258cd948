"""`predictd diagnostics` and `predictd compare`: scores of models or predictions on the validation data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from predictd.cli.options import (
    RUNTIME_HELP,
    AsJson,
    DataServer,
    Sandbox,
    TrustUsers,
    ValidationData,
    read_settings,
    runtime_option,
)
from predictd.cli.output import ModelLog, exit_with, output_console, print_json, say
from predictd.cli.progress import Transfers, show_progress
from predictd.data.mapped_cache import MappedCache
from predictd.data.schema import VALIDATION_BENCHMARKS_FILE, VALIDATION_FILE
from predictd.domain.errors import InvalidInputError, PredictdError
from predictd.domain.runs import RunReport, SandboxKind
from predictd.local_run import DEFAULT_SERVER, choose_runtime, run_pickle, validation_folder
from predictd.local_run.evaluate import Source, evaluate, load_predictions, name_sources
from predictd.reports import Report, page, print_differences, print_report
from predictd.sandbox import choose_sandbox
from predictd.scoring.validation import open_validation
from predictd.settings import Settings

PickleRuntime = Annotated[str | None, runtime_option("3.12", f"Runtime of pickles: a{RUNTIME_HELP[1:]}")]
Features = Annotated[
    bool,
    typer.Option("--features/--no-features", help="Compute FNC and feature exposure, which take most of the time."),
]
Html = Annotated[Path | None, typer.Option(help="Write a page with charts to this file.")]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of both commands."""

    data: str | None
    server: str
    runtime: str | None
    features: bool
    html: Path | None
    names: Sequence[str] = ()
    sandbox: SandboxKind | None
    trust_users: bool | None


def diagnostics(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE_OR_PICKLE",
            help="CSV or parquet files with the columns id and prediction, or pickles to run.",
            show_default=False,
        ),
    ],
    data: ValidationData = None,
    server: DataServer = DEFAULT_SERVER,
    runtime: PickleRuntime = None,
    features: Features = True,
    html: Html = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Name of a model in the report; repeat for each file, in order.")
    ] = None,
    sandbox: Sandbox = None,
    trust_users: TrustUsers = None,
    as_json: AsJson = False,
) -> None:
    """Score validation predictions, or the models that create them: CORR, MMC, FNC, Sharpe, drawdown and more.

    A file may lack eras or ids. A pickle runs in the sandbox as with `predictd run`, era by era, for up to an hour; set
    PREDICTD_DIAGNOSTICS_SECONDS=7200 for two. Several files are compared with the first. The exit code is 1 if a model
    fails or a file is invalid.

    Example: predictd diagnostics predictions.parquet model.pkl --data ./v5.3 --html report.html
    """
    options = Options(
        data=data,
        server=server,
        runtime=runtime,
        features=features,
        html=html,
        names=name or (),
        sandbox=sandbox,
        trust_users=trust_users,
    )
    _show_report(files, options, print_report, as_json=as_json)


def compare(
    new: Annotated[Path, typer.Argument(help="Pickle or predictions of the new model.", show_default=False)],
    assigned: Annotated[Path, typer.Argument(help="Pickle or predictions of the assigned model.", show_default=False)],
    data: ValidationData = None,
    server: DataServer = DEFAULT_SERVER,
    runtime: PickleRuntime = None,
    features: Features = True,
    html: Html = None,
    sandbox: Sandbox = None,
    trust_users: TrustUsers = None,
    as_json: AsJson = False,
) -> None:
    """Compare a new model with the assigned one, era by era on the validation data.

    Each difference has a 95 % confidence interval. `predictd diagnostics` prints all metrics of both. The exit code
    does not depend on the verdict: `--json` has it as `outcome`.

    Example: predictd compare new.pkl assigned.pkl --data ./v5.3
    """
    options = Options(
        data=data,
        server=server,
        runtime=runtime,
        features=features,
        html=html,
        sandbox=sandbox,
        trust_users=trust_users,
    )
    _show_report([assigned, new], options, print_differences, as_json=as_json)


def _show_report(
    paths: Sequence[Path], options: Options, show: Callable[[Report, Console], None], *, as_json: bool
) -> None:
    """Score the files and print their report; an error is printed, with `as_json` also as JSON, with exit code 1."""
    if options.html is not None and not options.html.absolute().parent.is_dir():
        raise typer.BadParameter(f"{options.html.parent} is not an existing folder", param_hint="--html")
    try:
        report = _build_report(paths, options)
        if options.html is not None:
            _write(options.html, page(report))
    except PredictdError as error:
        raise exit_with(error, as_json=as_json) from error
    if as_json:
        print_json({"ok": True, **report.wire()})
    else:
        show(report, output_console(120))


def _build_report(paths: Sequence[Path], options: Options) -> Report:
    models = name_sources(paths, options.names)
    settings = read_settings(sandbox=options.sandbox, trust_users=options.trust_users)
    with Transfers() as downloads:
        folder = validation_folder(options.data, options.server, settings.laptop_cache / "data", downloads.show)
    mapped = MappedCache(folder=settings.laptop_mapped_home, limit=settings.mapped_cache_gb * 10**9)
    with show_progress("Preparing the data") as on_progress:
        mapped.path_of(folder / VALIDATION_FILE, progress=on_progress)
    factors = settings.laptop_cache / "factors"
    with open_validation(folder, mapped, factors=factors, features=options.features) as validation:
        runner = _Runner(folder=folder, options=options, settings=settings, mapped=mapped, rows=len(validation.ids))
        predictions = [load_predictions(model, validation, runner.run) for model in models]
        say(
            f"Scoring {', '.join(model.name for model in models)} on {len(validation.truth.eras)} eras of {folder.name}"
        )
        with show_progress("Computing the metrics") as on_progress:
            return evaluate(models, predictions, validation, data=folder.name, progress=on_progress)


@dataclass(frozen=True, kw_only=True)
class _Runner:
    """Runs pickles on the validation features as the server does."""

    folder: Path
    options: Options
    settings: Settings
    mapped: MappedCache
    rows: int

    def run(self, source: Source) -> RunReport:
        """Run a pickle and print its output."""
        kind, missing = choose_sandbox(self.settings.sandbox, trust_users=self.settings.trust_users)
        if missing:
            say(f"The model runs without isolation, because of --trust-users: {missing}")
        built = choose_runtime(self.options.runtime, self.settings.runtimes_home, say)
        say(f"Running {source.path} on {self.rows} validation rows, era by era, in {built.display_name}")
        benchmarks = self.folder / VALIDATION_BENCHMARKS_FILE
        log = ModelLog()
        report = run_pickle(
            source.path,
            self.folder / VALIDATION_FILE,
            benchmarks if benchmarks.is_file() else None,
            built.paths,
            self.settings.diagnostics_limits,
            kind=kind,
            on_log=log.write,
            mapped=self.mapped,
            trees=self.settings.trees,
            without_targets=True,
        )
        log.close()
        if report.failure is None:
            say(report.use(self.settings.diagnostics_limits).describe())
        return report


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{path} can't be written: {error.strerror}. Give --html another path.") from error
    say(f"Wrote the report with charts to {path}.")
