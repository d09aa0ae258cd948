"""`predictd record`: what went into a run and what came out."""

from typing import Annotated

import typer

from predictd.cli.options import AsJson
from predictd.cli.output import echo, print_json
from predictd.cli.remote import ProfileName, Server, opened_client
from predictd.client.documents import RUN_RECORD
from predictd.domain.errors import NotFoundError


def record(
    trigger: Annotated[str, typer.Argument(help="Id of the run; `predictd status MODEL` shows it.")],
    attempt: Annotated[int | None, typer.Option(help="Which attempt; by default the newest that ended.")] = None,
    server: Server = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Show the record of a run: hashes of what went in and came out, runtime, code, limits, seeds and machine.

    The organiser of the server can run it again with `predictd replay`.

    Example: predictd record 3f1c8e52-5f0a-4a3e-9a0b-0c9d6d1c7e11 --json
    """
    with opened_client(server, profile) as client:
        found = client.graphql(RUN_RECORD, {"triggerId": trigger, "attempt": attempt})["runRecord"]
    if found is None:
        raise NotFoundError(f"Run {trigger[:64]!r} has no such record: it gets one when the model has ended.")
    if as_json:
        print_json(found)
        return
    width = max(map(len, found))
    for name, value in found.items():
        if value is not None:
            shown = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            echo(f"{name:<{width}}  {shown}")
