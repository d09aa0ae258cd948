"""`predictd deploy`: upload a pickle, validate it and assign it to a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from predictd.cli.options import AsJson, Timeout, Wait
from predictd.cli.output import echo, print_json, say
from predictd.cli.remote import (
    ProfileName,
    Server,
    exit_codes,
    opened_client,
    pickle_row,
    show_end,
    watch,
)
from predictd.client import Client, Outcome, Pickle, Runtime
from predictd.client.selection import python_of
from predictd.client.upload import open_pickle
from predictd.domain.errors import NotFoundError
from predictd.pickles import choose_python, inspect_pickle


def matching_runtime(file: Path, runtimes: Sequence[Runtime]) -> Runtime | None:
    """Return a runtime with the Python that created the pickle, read from its bytes; None to let the server choose.

    That includes a match with the server's default, because the server may have a better choice among the matches.
    """
    versions = [version for runtime in runtimes if (version := python_of(runtime))]
    python = choose_python(inspect_pickle(file), versions)
    matches = [runtime for runtime in runtimes if python is not None and python_of(runtime) == python]
    return None if not matches or any(runtime.default for runtime in matches) else matches[0]


def deploy(
    file: Annotated[Path, typer.Argument(help="The pickle; its name must end in .pkl.", show_default=False)],
    model: Annotated[
        str | None, typer.Option(help="Name of the model to upload for; without it the pickle is not assigned.")
    ] = None,
    create: Annotated[bool, typer.Option("--create", help="Create the model if it does not exist.")] = False,
    assign: Annotated[
        bool,
        typer.Option("--assign", help="Wait for the validation, then make sure that the pickle is assigned."),
    ] = False,
    wait: Wait = False,
    timeout: Timeout = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="A Python version (3.12), or a runtime's name, image, tag or id.", show_default="the server's"
        ),
    ] = None,
    data_version: Annotated[
        str | None, typer.Option("--data-version", help="Name or id of a data version.", show_default="the server's")
    ] = None,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Upload a pickle and validate it. Once validated, it is assigned to the model and submits to the open round.

    With --wait the exit code is 0 for Success (also if the pickle is validated and no round is open), 1 for Failed,
    with the reason and a remedy, and 2 for an error of the platform or the network. To resume an interrupted upload,
    run the same command again.

    Example: predictd deploy model.pkl --model my_model --create --wait
    """
    with exit_codes(as_json=as_json), opened_client(server, profile, "Uploading") as client:
        # Check the file before creating a model for it.
        open_pickle(file).close()
        if model and create:
            _create_model(client, model)
        pickle = client.upload(file, model=model, runtime=runtime, data_version=data_version, choose=matching_runtime)
        say(f"Registered {file.name} as {pickle.filename} for {pickle.runtime or 'the default runtime'}.")
        if not (wait or assign):
            _show(pickle, as_json=as_json)
            return
        run = watch(client, pickle, None, timeout)
        if assign and model and run.outcome in (Outcome.SUCCESS, Outcome.VALIDATED):
            client.assign(model, pickle.id)
            say(f"Assigned it to model {model}.")
        show_end(run, as_json=as_json)


def _create_model(client: Client, name: str) -> None:
    try:
        client.model(name)
    except NotFoundError:
        client.create_model(name)
        say(f"Created model {name}.")


def _show(pickle: Pickle, *, as_json: bool) -> None:
    if as_json:
        print_json({"outcome": None, **pickle_row(pickle)})
        return
    say(f"Follow it with: predictd logs {pickle.id} --follow")
    echo(pickle.id)
