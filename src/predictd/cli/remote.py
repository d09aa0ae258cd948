"""What the commands over a server share: which server it is, what is shown of a run, which exit code its end is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from predictd.cli.output import console, fail, print_json, say
from predictd.cli.transfers import Transfers
from predictd.client import Client, LogLine, Outcome, Pickle, Run, Status, TransferError, shown_status
from predictd.domain.errors import PlatformError, PredictdError
from predictd.domain.reasons import NO_OPEN_ROUND

Server = Annotated[
    str | None,
    typer.Option("--server", help="Address of the server (env: PREDICTD_SERVER; default that of the profile)."),
]
ProfileName = Annotated[
    str | None,
    typer.Option("--profile", help="A profile kept by predictd login (env: PREDICTD_PROFILE)."),
]
ModelOrPickle = Annotated[
    str, typer.Argument(metavar="MODEL_OR_PICKLE", help="A model's name, or the id of a pickle.", show_default=False)
]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="A model's name or id.", show_default=False)]

EXIT_CODES = {Outcome.SUCCESS: 0, Outcome.VALIDATED: 0, Outcome.FAILED: 1, Outcome.ERROR: 2}
_COLOURS = {"Success": "bold green", "Failed": "bold red", "Error": "bold red"}


@contextmanager
def opened_client(server: str | None, profile: str | None, doing: str = "Downloading") -> Iterator[Client]:
    """The client, with a bar for each transfer."""
    with Transfers(doing) as transfers, Client(server, None, profile, show=transfers.show, say=say) as client:
        yield client


@contextmanager
def exit_codes(*, as_json: bool) -> Iterator[None]:
    """Ends with 2 where the platform or the network is at fault, so that a script can try again; else with 1."""
    try:
        yield
    except PredictdError as error:
        fail(error)
        is_theirs = isinstance(error, TransferError | PlatformError)
        if as_json:
            outcome = "error" if is_theirs else "refused"
            print_json({"outcome": outcome, "code": error.code, "reason": error.message})
        raise typer.Exit(2 if is_theirs else 1) from error


def show_event(event: Status | LogLine) -> None:
    """A line for a status or for what the model printed."""
    if isinstance(event, LogLine):
        line = Text.assemble(("  │ ", "dim"), event.message)
    else:
        name = shown_status(event.status)
        line = Text.assemble((f"{name:<10} ", _COLOURS.get(name, "bold")), event.description)
    console.print(line, soft_wrap=True)


def watch(client: Client, pickle: Pickle, trigger_id: str | None, seconds: float | None) -> Run:
    """Show a run until it has ended; on a terminal with the time that it takes."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    clock = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    try:
        with clock:
            task = clock.add_task("Waiting", total=None)
            for event in client.follow(pickle.id, trigger_id, seconds=seconds):
                if isinstance(event, Run):
                    return event
                show_event(event)
                if isinstance(event, Status):
                    clock.update(task, description=shown_status(event.status))
    except (TransferError, KeyboardInterrupt):
        say(f"The run goes on; follow it with: predictd logs {pickle.id} --follow")
        raise
    raise AssertionError("a watch ends with a run")


def show_end(run: Run, *, as_json: bool) -> None:
    """Say how a run ended, and end with its exit code."""
    pickle = run.pickle
    if as_json:
        print_json(run_row(run))
    elif run.outcome is Outcome.VALIDATED:
        say("The model is validated. No round is open now; it runs when the next one opens.")
    elif run.outcome is Outcome.FAILED:
        say(f"The log again: predictd logs {pickle.id}. What each failure means: docs/failures.md")
    elif run.trigger.code == NO_OPEN_ROUND:
        say("Rounds run the pickles in their models' slots by themselves when they open.")
    elif run.outcome is Outcome.ERROR:
        say(f"That is not the model's fault. Run it again: predictd trigger {pickle.id}")
    raise typer.Exit(EXIT_CODES[run.outcome])


def run_row(run: Run) -> dict[str, Any]:
    """A run that has ended, as it is printed with --json."""
    return {
        "outcome": run.outcome.value,
        "code": run.trigger.code,
        "reason": run.reason,
        "trigger": run.trigger.id,
        **pickle_row(run.pickle),
    }


def pickle_row(pickle: Pickle) -> dict[str, Any]:
    """A pickle in one row of a list."""
    trigger = pickle.newest_trigger
    return {
        "id": pickle.id,
        "filename": pickle.filename,
        "runtime": pickle.runtime,
        "data_version": pickle.data_version,
        "validation": pickle.validation_status,
        "status": shown_status(trigger.status) if trigger else None,
        "model_id": pickle.model_id,
        "assigned_model_ids": list(pickle.assigned_model_ids),
        "inserted_at": pickle.inserted_at,
    }
