"""`predictd cancel`: ending a run."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from predictd.cli.options import AsJson, DataDir, opened
from predictd.cli.output import print_json, say
from predictd.cli.remote import ProfileName, Server, opened_client


def cancel(
    trigger: Annotated[
        str, typer.Argument(metavar="TRIGGER", help="Id of the run; predictd status shows it.", show_default=False)
    ],
    organiser: Annotated[
        bool,
        typer.Option("--organiser", help="Cancel anybody's run, as the organiser, in the data dir of this machine."),
    ] = False,
    data_dir: DataDir = None,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """End a run that waits or runs. It is shown as Failed (cancelled) and never run again; its log is kept.

    Example: predictd cancel 1c0a4d52-...
    """
    if organiser:
        # Only the organiser has the server's part.
        from predictd.uploads.cancellation import cancel_run  # noqa: PLC0415

        with opened(data_dir) as deployment, deployment.database.write() as session:
            cancel_run(session, trigger, datetime.now(UTC))
    else:
        with opened_client(server, profile) as client:
            client.cancel(trigger)
    if as_json:
        print_json({"trigger": trigger, "outcome": "cancelled"})
    else:
        say(f"The run {trigger} is cancelled.")
