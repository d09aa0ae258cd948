"""What the commands that measure models share: their options, and the way from files to a report."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from predictd.cli.options import RUNTIME_HELP, read_settings
from predictd.cli.output import console, output_console, print_json, refused, say
from predictd.cli.run import ModelLog
from predictd.cli.transfers import Transfers
from predictd.data.mapped_cache import MappedCache
from predictd.data.schema import VALIDATION_BENCHMARKS_FILE, VALIDATION_FILE
from predictd.domain.errors import InvalidInputError, PredictdError
from predictd.domain.runs import RunReport, SandboxKind
from predictd.local_run import DEFAULT_SERVER, choose_runtime, run_pickle, validation_folder
from predictd.local_run.evaluate import Source, evaluate, load_predictions, name_sources
from predictd.reports import Report, page
from predictd.sandbox import choose_sandbox
from predictd.scoring.validation import open_validation
from predictd.settings import Settings

Data = Annotated[
    str | None,
    typer.Option(
        help="Folder of a data version, or its name at the server, such as v5.3.",
        show_default="the server's newest, fetched once",
    ),
]
Runtime = Annotated[
    str | None,
    typer.Option(envvar="PREDICTD_RUNTIME", help=f"For pickles: a{RUNTIME_HELP[1:]}", show_default="3.12"),
]
Features = Annotated[
    bool, typer.Option("--features/--no-features", help="FNC and feature exposure; they take most of the time.")
]
Html = Annotated[Path | None, typer.Option(help="Write a page with charts to this file.")]
Name = Annotated[list[str] | None, typer.Option(help="What to call a model; once for each file, in their order.")]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the options say."""

    data: str | None = None
    server: str = DEFAULT_SERVER
    runtime: str | None = None
    features: bool = True
    html: Path | None = None
    names: Sequence[str] = ()
    sandbox: SandboxKind | None = None
    trust_users: bool | None = None


def show_report(paths: Sequence[Path], asked: Asked, show: Callable[[Report, Console], None], *, as_json: bool) -> None:
    """Measure the files and show their report; an error is told, also as JSON if that is wanted, with exit code 1."""
    if asked.html is not None and not asked.html.absolute().parent.is_dir():
        raise typer.BadParameter(f"{asked.html.parent} is not an existing folder", param_hint="--html")
    try:
        report = _measured(paths, asked)
        if asked.html is not None:
            _write(asked.html, page(report))
    except PredictdError as error:
        raise refused(error, as_json=as_json) from error
    if as_json:
        print_json({"ok": True, **report.wire()})
    else:
        show(report, output_console(120))


def _measured(paths: Sequence[Path], asked: Asked) -> Report:
    wanted = name_sources(paths, asked.names)
    settings = read_settings(sandbox=asked.sandbox, trust_users=asked.trust_users)
    with Transfers() as downloads:
        folder = validation_folder(asked.data, asked.server, settings.laptop_cache / "data", downloads.show)
    mapped = MappedCache(folder=settings.laptop_mapped_home, limit=settings.mapped_gb * 10**9)
    with show_progress("Preparing the data") as tell:
        mapped.path_of(folder / VALIDATION_FILE, progress=tell)
    factors = settings.laptop_cache / "factors"
    with open_validation(folder, mapped, factors=factors, features=asked.features) as validation:
        runs = _Runs(folder=folder, asked=asked, settings=settings, mapped=mapped, rows=len(validation.ids))
        predictions = [load_predictions(source, validation, runs.run) for source in wanted]
        say(f"Measuring {', '.join(one.name for one in wanted)} on {len(validation.truth.eras)} eras of {folder.name}")
        with show_progress("Computing the figures") as tell:
            return evaluate(wanted, predictions, validation, data=folder.name, progress=tell)


@dataclass(frozen=True, kw_only=True)
class _Runs:
    """Runs pickles on the validation features, as the server does."""

    folder: Path
    asked: Asked
    settings: Settings
    mapped: MappedCache
    rows: int

    def run(self, source: Source) -> RunReport:
        """Run one, showing what it prints."""
        kind, missing = choose_sandbox(self.settings.sandbox, trust_users=self.settings.trust_users)
        if missing:
            say(f"The model runs without isolation, because --trust-users says so: {missing}")
        built = choose_runtime(self.asked.runtime, self.settings.runtimes_home, say)
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


@contextmanager
def show_progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is told the done and the total; on a pipe a line for each quarter."""
    if not console.is_terminal:
        yield _Quarters(title).tell
        return
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(title, visible=False)
        yield lambda done, total: bars.update(task, completed=done, total=total, visible=done < total)


class _Quarters:
    """Progress on a pipe."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._told = 0

    def tell(self, done: int, total: int) -> None:
        quarter = 4 * done // total if total else 0
        if self._told < quarter < 4:
            self._told = quarter
            say(f"{self._title}: {25 * quarter} %")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{path} can't be written: {error.strerror}; give --html another path.") from error
    say(f"The report with charts is in {path}")
