"""`predictd trigger`, `assign`, `unassign`, `rollback` and `fallback`: which pickle serves a model; running it now."""

from enum import StrEnum
from typing import Annotated

import typer

from predictd.cli.options import AsJson
from predictd.cli.output import print_json, say
from predictd.cli.remote import (
    ModelName,
    ModelOrPickle,
    ProfileName,
    Server,
    exit_codes,
    opened_client,
    pickle_row,
    show_end,
    watch,
)


class Switch(StrEnum):
    """On or off."""

    ON = "on"
    OFF = "off"


def trigger(
    target: ModelOrPickle,
    validation: Annotated[bool, typer.Option("--validation", help="Validate it again.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run, with what the model prints.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Wait at most so many seconds.")] = None,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Run a pickle, or the one in a model's slot, now: for the open round, or for validation again.

    The exit codes of --wait are those of predictd deploy.

    Example: predictd trigger my_model --wait
    """
    with exit_codes(as_json=as_json), opened_client(server, profile) as client:
        pickle = client.trigger(target, validation=validation)
        started = pickle.newest_trigger
        if wait:
            show_end(watch(client, pickle, started.id if started else None, timeout), as_json=as_json)
        if as_json:
            print_json(pickle_row(pickle))
        elif started is not None and started.is_final:
            say(f"It ended at once: {started.reason}")
        else:
            say(f"{pickle.filename} is triggered. Follow it with: predictd logs {pickle.id} --follow")


def assign(
    model: ModelName,
    pickle: Annotated[str, typer.Argument(metavar="PICKLE", help="Id of a validated pickle.", show_default=False)],
    server: Server = None,
    profile: ProfileName = None,
) -> None:
    """Put a validated pickle into a model's slot; while a round is open it runs for it.

    Example: predictd assign my_model 1c0a4d52-...
    """
    with opened_client(server, profile) as client:
        client.assign(model, pickle)
    say(f"Model {model} is served by {pickle}.")


def unassign(model: ModelName, server: Server = None, profile: ProfileName = None) -> None:
    """Empty a model's slot, so that rounds do not run it any more.

    Example: predictd unassign my_model
    """
    with opened_client(server, profile) as client:
        client.unassign(model)
    say(f"Model {model} has no pickle now.")


def rollback(model: ModelName, server: Server = None, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Put the pickle back that served the model before the one that does now; while a round is open it runs for it.

    Again it goes one further back.

    Example: predictd rollback my_model
    """
    with opened_client(server, profile) as client:
        pickle = client.rollback(model)
    if as_json:
        print_json(pickle_row(pickle))
    else:
        say(f"Model {model} is served by {pickle.filename} ({pickle.id}) again.")


def fallback(
    model: ModelName,
    wanted: Annotated[
        Switch | None, typer.Argument(metavar="on|off", help="What it shall be; shows it without.")
    ] = None,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Say or show whether a model's last good pickle runs for a round when the assigned one has failed.

    It does unless you turn it off.

    Example: predictd fallback my_model off
    """
    with opened_client(server, profile) as client:
        is_on = client.fallback(model, None if wanted is None else wanted is Switch.ON)
    if as_json:
        print_json({"model": model, "fallback": is_on})
    elif is_on:
        say(f"When the assigned pickle of {model} fails, its last good one runs for the round.")
    else:
        say(f"When the assigned pickle of {model} fails, nothing runs in its place.")
