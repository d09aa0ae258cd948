"""`predictd status` and `predictd logs`: the runs of a pickle and their logs."""

from dataclasses import asdict
from typing import Annotated

import typer

from predictd.cli.options import AsJson
from predictd.cli.output import echo, print_json, say
from predictd.cli.remote import ModelOrPickle, ProfileName, Server, opened_client, pickle_row, show_event
from predictd.client import Client, LogLine, Pickle, Run, RunResult, shown_status
from predictd.domain.errors import NotFoundError


def status(target: ModelOrPickle, server: Server = None, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Show a pickle, or the newest of a model, with the status history of its runs.

    Example: predictd status my_model
    """
    with opened_client(server, profile) as client:
        pickle = client.status(target)
        if as_json:
            print_json({**pickle_row(pickle), "runs": [asdict(run) for run in pickle.runs]})
            return
        names = {model.id: model.name for model in client.models()}
    _show(pickle, names)


def logs(
    target: ModelOrPickle,
    run: Annotated[str | None, typer.Option(help="Id of a run.", show_default="the newest")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines until the run has ended.")] = False,
    diagnostics: Annotated[bool, typer.Option("--diagnostics", help="Print the logs of diagnostics runs.")] = False,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Print the log of a run on standard output; with --follow, its statuses on standard error.

    With --json each line of the log is an object; with --follow, each object is on a line.

    Example: predictd logs my_model --follow
    """
    with opened_client(server, profile) as client:
        pickle = client.status(target)
        if diagnostics:
            _print(client.diagnostics_logs(pickle.id), as_json=as_json)
        elif follow:
            _follow(client, pickle, run, as_json=as_json)
        else:
            _print(client.logs(_find_run(pickle, run).id), as_json=as_json)


def _follow(client: Client, pickle: Pickle, run_id: str | None, *, as_json: bool) -> None:
    for event in client.follow(pickle.id, _find_run(pickle, run_id).id):
        if isinstance(event, LogLine):
            _print([event], as_json=as_json, compact=True)
        elif not isinstance(event, RunResult):
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


def _find_run(pickle: Pickle, run_id: str | None) -> Run:
    matches = [run for run in pickle.runs if run_id is None or run.id == run_id]
    if not matches:
        run_ids = ", ".join(run.id for run in pickle.runs) or "none"
        raise NotFoundError(f"{pickle.filename} has no run {run_id or 'yet'}; its runs are: {run_ids}.")
    return matches[0]


def _show(pickle: Pickle, names: dict[str, str]) -> None:
    models = ", ".join(names.get(model_id, model_id) for model_id in pickle.assigned_model_ids) or "no model"
    echo(f"{pickle.filename}  {pickle.validation_status}, assigned to {models}")
    echo(f"  id {pickle.id}, {pickle.runtime}, data {pickle.data_version}")
    for run in pickle.runs:
        echo(f"\n{shown_status(run.status)}  {run.type} run {run.id}")
        for status in run.statuses:
            time = f"{status.inserted_at:%Y-%m-%d %H:%M:%S}" if status.inserted_at else " " * 19
            echo(f"  {time}  {shown_status(status.status):<10}  {status.description}")
    if not pickle.runs:
        say(f"The pickle has no runs. Run it with: predictd run-now {pickle.id}")
