"""`predictd assign`, `unassign`, `rollback` and `fallback`: which pickle a model uses."""

from enum import StrEnum
from typing import Annotated

import typer

from predictd.cli.options import AsJson
from predictd.cli.output import print_json, say
from predictd.cli.remote import ModelName, ProfileName, Server, opened_client, pickle_row


class Switch(StrEnum):
    """On or off."""

    ON = "on"
    OFF = "off"


def assign(
    model: ModelName,
    pickle: Annotated[str, typer.Argument(metavar="PICKLE", help="Id of a validated pickle.", show_default=False)],
    server: Server = None,
    profile: ProfileName = None,
) -> None:
    """Assign a validated pickle to a model. If a round is open, it runs for the round.

    Example: predictd assign my_model 1c0a4d52-...
    """
    with opened_client(server, profile) as client:
        client.assign(model, pickle)
    say(f"Assigned {pickle} to model {model}.")


def unassign(model: ModelName, server: Server = None, profile: ProfileName = None) -> None:
    """Unassign the pickle of a model, so that rounds no longer run it.

    Example: predictd unassign my_model
    """
    with opened_client(server, profile) as client:
        client.unassign(model)
    say(f"Unassigned the pickle of model {model}.")


def rollback(model: ModelName, server: Server = None, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Assign the previous pickle to a model again. If a round is open, it runs for the round.

    Repeat the command to go back further.

    Example: predictd rollback my_model
    """
    with opened_client(server, profile) as client:
        pickle = client.rollback(model)
    if as_json:
        print_json(pickle_row(pickle))
    else:
        say(f"Assigned {pickle.filename} ({pickle.id}) to model {model} again.")


def fallback(
    model: ModelName,
    setting: Annotated[
        Switch | None, typer.Argument(metavar="on|off", help="Turn it on or off; by default, show the setting.")
    ] = None,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Show or set whether a model falls back to its last successful pickle when the assigned one fails in a round.

    The default is on.

    Example: predictd fallback my_model off
    """
    with opened_client(server, profile) as client:
        is_on = client.fallback(model, None if setting is None else setting is Switch.ON)
    if as_json:
        print_json({"model": model, "fallback": is_on})
    elif is_on:
        say(f"If the assigned pickle of {model} fails, its last successful pickle runs for the round.")
    else:
        say(f"If the assigned pickle of {model} fails, no other pickle runs for the round.")
