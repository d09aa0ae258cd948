"""`predictd run-now`, `cancel` and `record`: start or cancel a run on the server; show the record of a run."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from predictd.cli.options import AsJson, Attempt, DataDir, RunId, Timeout, Wait
from predictd.cli.output import echo, print_json, say
from predictd.cli.remote import (
    ModelOrPickle,
    ProfileName,
    Server,
    exit_codes,
    opened_client,
    pickle_row,
    show_end,
    watch,
)
from predictd.client.documents import RUN_RECORD
from predictd.domain.errors import NotFoundError


def run_now(
    target: ModelOrPickle,
    validation: Annotated[bool, typer.Option("--validation", help="Validate the pickle again.")] = False,
    wait: Wait = False,
    timeout: Timeout = None,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Run a pickle, or the one assigned to a model, on the server now: for the open round, or to validate it again.

    With --wait the exit codes are those of `predictd deploy`.

    Example: predictd run-now my_model --wait
    """
    with exit_codes(as_json=as_json), opened_client(server, profile) as client:
        pickle = client.run_now(target, validation=validation)
        run = pickle.newest_run
        if wait:
            show_end(watch(client, pickle, run.id if run else None, timeout), as_json=as_json)
        if as_json:
            print_json(pickle_row(pickle))
        elif run is not None and run.is_final:
            say(f"The run has ended: {run.reason}")
        else:
            say(f"Queued a run of {pickle.filename}. Follow it with: predictd logs {pickle.id} --follow")


def cancel(
    run: RunId,
    admin: Annotated[
        bool,
        typer.Option("--admin", help="Cancel a run of any account, in the data dir of this machine."),
    ] = False,
    data_dir: DataDir = None,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a run that is queued or running. It ends as Failed (cancelled) and is not retried; its log remains.

    Example: predictd cancel 1c0a4d52-...
    """
    if admin:
        # These need the extra server, which only an admin has.
        from predictd.cli.deployment_access import use_deployment  # noqa: PLC0415
        from predictd.uploads.cancellation import cancel_run  # noqa: PLC0415

        with use_deployment(data_dir) as deployment, deployment.database.write() as session:
            cancel_run(session, run, datetime.now(UTC))
    else:
        with opened_client(server, profile) as client:
            client.cancel(run)
    if as_json:
        print_json({"run": run, "outcome": "cancelled"})
    else:
        say(f"Cancelled run {run}.")


def record(
    run: RunId,
    attempt: Attempt = None,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Show the record of a run: hashes of its inputs and its output, runtime, code, limits, seeds and machine.

    The admin of the server can repeat the run with `predictd replay`.

    Example: predictd record 3f1c8e52-5f0a-4a3e-9a0b-0c9d6d1c7e11 --json
    """
    with opened_client(server, profile) as client:
        run_record = client.graphql(RUN_RECORD, {"triggerId": run, "attempt": attempt})["runRecord"]
    if run_record is None:
        raise NotFoundError(f"Run {run[:64]!r} has no such record; a run has a record once its model has ended.")
    if as_json:
        print_json(run_record)
        return
    width = max(map(len, run_record))
    for name, value in run_record.items():
        if value is not None:
            text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            echo(f"{name:<{width}}  {text}")
