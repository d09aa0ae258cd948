"""`predictd status` and `predictd logs`: how a pickle's runs stand, and what they print."""

from dataclasses import asdict
from typing import Annotated

import typer

from predictd.cli.options import AsJson
from predictd.cli.output import echo, print_json, say
from predictd.cli.remote import ModelOrPickle, ProfileName, Server, opened_client, pickle_row, show_event
from predictd.client import Client, LogLine, Pickle, Run, Trigger, shown_status
from predictd.domain.errors import NotFoundError


def status(target: ModelOrPickle, server: Server = None, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Show a pickle, or the newest one of a model: its runs with their whole history.

    Example: predictd status my_model
    """
    with opened_client(server, profile) as client:
        pickle = client.status(target)
        if as_json:
            print_json({**pickle_row(pickle), "triggers": [asdict(one) for one in pickle.triggers]})
            return
        names = {model.id: model.name for model in client.models()}
    _show(pickle, names)


def logs(
    target: ModelOrPickle,
    trigger: Annotated[str | None, typer.Option(help="Id of a run; by default the newest.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new lines until the run has ended.")
    ] = False,
    diagnostics: Annotated[bool, typer.Option("--diagnostics", help="What its diagnostics runs printed.")] = False,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Print what the model prints, line by line, to standard output; with --follow the statuses go to standard error.

    With --json each line is an object (with --follow one a line).

    Example: predictd logs my_model --follow
    """
    with opened_client(server, profile) as client:
        pickle = client.status(target)
        if diagnostics:
            _print(client.diagnostics_logs(pickle.id), as_json=as_json)
        elif follow:
            _follow(client, pickle, trigger, as_json=as_json)
        else:
            _print(client.logs(_trigger(pickle, trigger).id), as_json=as_json)


def _follow(client: Client, pickle: Pickle, trigger: str | None, *, as_json: bool) -> None:
    for event in client.follow(pickle.id, _trigger(pickle, trigger).id):
        if isinstance(event, LogLine):
            _print([event], as_json=as_json, compact=True)
        elif not isinstance(event, Run):
            show_event(event)


def _print(lines: list[LogLine], *, as_json: bool, compact: bool = False) -> None:
    if as_json and not compact:
        print_json([asdict(line) for line in lines])
        return
    for line in lines:
        if as_json:
            print_json(asdict(line), compact=True)
        else:
            echo(line.message)


def _trigger(pickle: Pickle, wanted: str | None) -> Trigger:
    found = [one for one in pickle.triggers if wanted is None or one.id == wanted]
    if not found:
        known = ", ".join(one.id for one in pickle.triggers) or "none"
        raise NotFoundError(f"{pickle.filename} has no run {wanted or 'yet'}; its runs are: {known}.")
    return found[0]


def _show(pickle: Pickle, names: dict[str, str]) -> None:
    slots = ", ".join(names.get(one, one) for one in pickle.assigned_model_ids) or "no model"
    echo(f"{pickle.filename}  {pickle.validation_status}, in the slot of {slots}")
    echo(f"  id {pickle.id}, {pickle.runtime}, data {pickle.data_version}")
    for trigger in pickle.triggers:
        echo(f"\n{shown_status(trigger.status)}  {trigger.type} run {trigger.id}")
        for one in trigger.statuses:
            time = f"{one.inserted_at:%Y-%m-%d %H:%M:%S}" if one.inserted_at else " " * 19
            echo(f"  {time}  {shown_status(one.status):<10}  {one.description}")
    if not pickle.triggers:
        say(f"It has not run yet; run it with: predictd trigger {pickle.id}")
