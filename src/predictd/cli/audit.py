"""`predictd audit`: who did what."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from predictd.cli.options import AsJson, DataDir, opened
from predictd.cli.output import print_json, print_rows
from predictd.db.audit_entries import Wanted, list_entries
from predictd.rounds.calendar import parse_length


def audit(
    who: Annotated[str, typer.Option(help="Name of the account, or of the machine's user, who acted.")] = "",
    action: Annotated[str, typer.Option(help="An action such as round.open, or its first word: round.")] = "",
    about: Annotated[str, typer.Option(help="Id of an object, or a part of its name.")] = "",
    way: Annotated[str, typer.Option(help="web, api, mcp or 'command line'.")] = "",
    since: Annotated[str, typer.Option(help="How far back: a number and s, m, h or d.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Newest entries to show.")] = 100,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show who did what, newest first: changes by organisers, sign-ins, tokens, passwords, models, uploads.

    Example: predictd audit --since 7d --action account --json
    """
    length = parse_length(since) if since else None
    wanted = Wanted(who=who, action=action, about=about, way=way, since=_back(length))
    with opened(data_dir) as deployment, deployment.database.read() as session:
        entries = list_entries(session, wanted, limit=limit)
    if as_json:
        names = ("id", "at", "who", "account_id", "way", "address", "action")
        objects = ("object_kind", "object_id", "object_name", "detail")
        print_json([{name: getattr(one, name) for name in (*names, *objects)} for one in entries])
        return
    rows = [
        {
            "at": one.at,
            "who": one.who,
            "way": one.way,
            "from": one.address,
            "action": one.action,
            "object": f"{one.object_kind} {one.object_name}",
            "detail": ", ".join(f"{name}: {value}" for name, value in one.detail.items()),
        }
        for one in entries
    ]
    print_rows(rows, as_json=False, empty="Nothing of that is in the audit log.")


def _back(length: timedelta | None) -> datetime | None:
    return datetime.now(UTC) - length if length is not None else None
