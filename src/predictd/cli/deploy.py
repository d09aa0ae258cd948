"""`predictd deploy`: a pickle on its way to a server, until it runs there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from predictd.cli.options import AsJson
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


def matching(file: Path, runtimes: Sequence[Runtime]) -> Runtime | None:
    """The runtime of the Python that made the pickle, told from its bytes; None leaves it to the server.

    The server's default is right where it is of that Python, and the server may know a better one still.
    """
    python = choose_python(inspect_pickle(file), [known for one in runtimes if (known := python_of(one))])
    found = [one for one in runtimes if python is not None and python_of(one) == python]
    return None if not found or any(one.default for one in found) else found[0]


def deploy(
    file: Annotated[Path, typer.Argument(help="The pickle; its name ends in .pkl.", show_default=False)],
    model: Annotated[
        str | None, typer.Option(help="Name of the model it is for; without one the pickle sits in no slot.")
    ] = None,
    create: Annotated[bool, typer.Option("--create", help="Make the model if there is none of that name.")] = False,
    assign: Annotated[
        bool,
        typer.Option("--assign", help="Wait, and put it into the slot if the server has not done so by itself."),
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run, with what the model prints.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Wait at most so many seconds.")] = None,
    runtime: Annotated[
        str | None,
        typer.Option(help="A Python (3.12), or a runtime's name, image, tag or id.", show_default="the server's"),
    ] = None,
    data_version: Annotated[
        str | None, typer.Option("--data-version", help="Name or id.", show_default="the server's")
    ] = None,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Upload a pickle and start its validation; validated, it takes the model's slot and submits to the open round.

    With --wait the exit code is 0 for Success (also where no round is open and the model is validated), 1 for Failed,
    with the reason and the remedy, and 2 where the platform or the network is at fault. An upload that was cut is taken
    up by the same command.

    Example: predictd deploy model.pkl --model my_model --create --wait
    """
    with exit_codes(as_json=as_json), opened_client(server, profile, "Uploading") as client:
        # Before a model is made for it.
        open_pickle(file).close()
        if model and create:
            _make(client, model)
        pickle = client.upload(file, model=model, runtime=runtime, data_version=data_version, choose=matching)
        say(f"{file.name} is registered as {pickle.filename} for {pickle.runtime or 'the default runtime'}.")
        if not (wait or assign):
            _show(pickle, as_json=as_json)
            return
        run = watch(client, pickle, None, timeout)
        if assign and model and run.outcome in (Outcome.SUCCESS, Outcome.VALIDATED):
            client.assign(model, pickle.id)
            say(f"It is assigned to {model}.")
        show_end(run, as_json=as_json)


def _make(client: Client, name: str) -> None:
    try:
        client.model(name)
    except NotFoundError:
        client.create_model(name)
        say(f"The model {name} is made.")


def _show(pickle: Pickle, *, as_json: bool) -> None:
    if as_json:
        print_json({"outcome": None, **pickle_row(pickle)})
        return
    say(f"Follow it with: predictd logs {pickle.id} --follow")
    echo(pickle.id)
