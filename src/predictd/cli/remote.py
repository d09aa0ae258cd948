"""Shared by commands that call a server: their options, the display of a run, and exit codes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from predictd.cli.output import console, fail, print_json, say
from predictd.cli.progress import Transfers
from predictd.client import Client, LogLine, Outcome, Pickle, RunResult, Status, TransferError, shown_status
from predictd.domain.errors import PlatformError, PredictdError
from predictd.domain.reasons import NO_OPEN_ROUND

Server = Annotated[
    str | None,
    typer.Option("--server", help="Address of the server (env: PREDICTD_SERVER; default: the profile's)."),
]
ProfileName = Annotated[
    str | None,
    typer.Option("--profile", help="A profile saved by predictd login (env: PREDICTD_PROFILE)."),
]
ModelOrPickle = Annotated[
    str, typer.Argument(metavar="MODEL_OR_PICKLE", help="Name of a model, or id of a pickle.", show_default=False)
]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Name or id of a model.", show_default=False)]

EXIT_CODES = {Outcome.SUCCESS: 0, Outcome.VALIDATED: 0, Outcome.FAILED: 1, Outcome.ERROR: 2}
_COLORS = {"Success": "bold green", "Failed": "bold red", "Error": "bold red"}


@contextmanager
def opened_client(server: str | None, profile: str | None, action: str = "Downloading") -> Iterator[Client]:
    """Open a client that shows the progress of each transfer; close it at the end."""
    with (
        Transfers(action) as transfers,
        Client(server, None, profile, on_progress=transfers.show, on_message=say) as client,
    ):
        yield client


@contextmanager
def exit_codes(*, as_json: bool) -> Iterator[None]:
    """Exit with 2 for an error of the platform or the network, so that scripts can retry; with 1 for other errors."""
    try:
        yield
    except PredictdError as error:
        fail(error)
        is_retryable = isinstance(error, TransferError | PlatformError)
        if as_json:
            outcome = "error" if is_retryable else "refused"
            print_json({"outcome": outcome, "code": error.code, "reason": error.message})
        raise typer.Exit(2 if is_retryable else 1) from error


def show_event(event: Status | LogLine) -> None:
    """Print a status, or a line of the model's log."""
    if isinstance(event, LogLine):
        line = Text.assemble(("  │ ", "dim"), event.message)
    else:
        name = shown_status(event.status)
        line = Text.assemble((f"{name:<10} ", _COLORS.get(name, "bold")), event.description)
    console.print(line, soft_wrap=True)


def watch(client: Client, pickle: Pickle, run_id: str | None, seconds: float | None) -> RunResult:
    """Follow a run until it has ended; on a terminal, with a clock."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    clock = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    try:
        with clock:
            task = clock.add_task("Waiting", total=None)
            for event in client.follow(pickle.id, run_id, seconds=seconds):
                if isinstance(event, RunResult):
                    return event
                show_event(event)
                if isinstance(event, Status):
                    clock.update(task, description=shown_status(event.status))
    except (TransferError, KeyboardInterrupt):
        say(f"The run continues on the server. Follow it with: predictd logs {pickle.id} --follow")
        raise
    raise AssertionError("a watch ends with a run")


def show_end(result: RunResult, *, as_json: bool) -> None:
    """Print how a run ended, and exit with its exit code."""
    pickle = result.pickle
    if as_json:
        print_json(run_row(result))
    elif result.outcome is Outcome.VALIDATED:
        say("The pickle is validated. No round is open; it runs when the next round opens.")
    elif result.outcome is Outcome.FAILED:
        say(f"Show the log with: predictd logs {pickle.id}. All failures: docs/reference/failures.md")
    elif result.run.code == NO_OPEN_ROUND:
        say("A round runs all assigned pickles when it opens.")
    elif result.outcome is Outcome.ERROR:
        say(f"The platform failed, not the model. Run it again: predictd run-now {pickle.id}")
    raise typer.Exit(EXIT_CODES[result.outcome])


def run_row(result: RunResult) -> dict[str, Any]:
    """Return the JSON object of a run that has ended."""
    return {
        "outcome": result.outcome.value,
        "code": result.run.code,
        "reason": result.reason,
        "run": result.run.id,
        **pickle_row(result.pickle),
    }


def pickle_row(pickle: Pickle) -> dict[str, Any]:
    """Return the JSON object of a pickle."""
    run = pickle.newest_run
    return {
        "id": pickle.id,
        "filename": pickle.filename,
        "runtime": pickle.runtime,
        "data_version": pickle.data_version,
        "validation": pickle.validation_status,
        "status": shown_status(run.status) if run else None,
        "model_id": pickle.model_id,
        "assigned_model_ids": list(pickle.assigned_model_ids),
        "inserted_at": pickle.inserted_at,
    }
