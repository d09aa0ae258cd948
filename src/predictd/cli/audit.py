"""`predictd audit`: the audit log."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from predictd.cli.deployment_access import use_deployment
from predictd.cli.options import AsJson, DataDir
from predictd.cli.output import print_json, print_rows
from predictd.db.audit_entries import AuditFilter, list_entries
from predictd.rounds.calendar import parse_length


def audit(
    who: Annotated[str, typer.Option(help="Name of the account, or of the user of this machine, that acted.")] = "",
    action: Annotated[str, typer.Option(help="An action such as round.open, or its first word such as round.")] = "",
    about: Annotated[str, typer.Option(help="Id of an object, or part of its name.")] = "",
    way: Annotated[str, typer.Option(help="web, api, mcp or 'command line'.")] = "",
    since: Annotated[str, typer.Option(help="Maximum age of the entries: a number and s, m, h or d.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of entries.")] = 100,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List who did what, newest first: changes by admins, sign-ins, tokens, passwords, models, uploads.

    Example: predictd audit --since 7d --action account --json
    """
    start = datetime.now(UTC) - parse_length(since) if since else None
    filters = AuditFilter(who=who, action=action, about=about, interface=way, since=start)
    with use_deployment(data_dir) as deployment, deployment.database.read() as session:
        entries = list_entries(session, filters, limit=limit)
    if as_json:
        names = ("id", "at", "who", "account_id", "interface", "address", "action")
        objects = ("object_kind", "object_id", "object_name", "detail")
        print_json([{name: getattr(entry, name) for name in (*names, *objects)} for entry in entries])
        return
    rows = [
        {
            "at": entry.at,
            "who": entry.who,
            "interface": entry.interface,
            "from": entry.address,
            "action": entry.action,
            "object": f"{entry.object_kind} {entry.object_name}",
            "detail": ", ".join(f"{name}: {value}" for name, value in entry.detail.items()),
        }
        for entry in entries
    ]
    print_rows(rows, as_json=False, empty="No entries of the audit log match.")
