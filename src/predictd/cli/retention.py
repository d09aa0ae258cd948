"""`predictd retention`: removing old logs and old pickles."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.progress import Progress

from predictd.admin.retention import Removable, find_removable, remove
from predictd.cli.options import AsJson, DataDir, opened
from predictd.cli.output import console, print_json, say
from predictd.cli.steps import Steps
from predictd.db.audit import record
from predictd.domain.errors import InvalidInputError
from predictd.rounds.calendar import parse_length


def retention(
    logs: Annotated[
        str, typer.Option(help="Age of logs, such as 90d (env: PREDICTD_KEEP_LOGS; default: all are kept).")
    ] = "",
    pickles: Annotated[
        str, typer.Option(help="Age of pickles, such as 365d (env: PREDICTD_KEEP_PICKLES; default: all are kept).")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run/--delete", help="Only tell what would be removed, or remove it.")
    ] = True,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Tell which logs and pickles are older than so much, and with --delete remove them.

    A log is removed once its run has ended. A pickle's file is removed if no model has it or would fall back to it, and
    it was not run since. The history of runs, submissions and scores stays, and so do all predictions.

    Example: predictd retention --logs 90d --pickles 365d --dry-run
    """
    with opened(data_dir) as deployment:
        settings = deployment.settings
        chosen = {"logs": logs or settings.keep_logs, "pickles": pickles or settings.keep_pickles}
        ages = {kind: parse_length(age) for kind, age in chosen.items() if age}
        if not ages:
            raise InvalidInputError("Say what is old: --logs 90d or --pickles 365d, or set PREDICTD_KEEP_LOGS.")
        if dry_run:
            with deployment.database.read() as session:
                found = find_removable(session, datetime.now(UTC), **ages)
        else:
            with deployment.database.write() as session:
                record(session, "deployment.retention", "deployment", "", "old logs and pickles", **chosen)
            with Progress(console=console) as bars:
                show = Steps(bars, "Removing").show
                found = remove(deployment.database, deployment.storage, datetime.now(UTC), **ages, progress=show)
    if as_json:
        print_json(_facts(found, dry_run=dry_run))
        return
    verb = "would be removed" if dry_run else "are removed"
    if "logs" in ages:
        say(f"{len(found.logs)} logs with {found.log_lines} lines, {found.log_bytes / 1e6:.1f} MB, {verb}.")
    if "pickles" in ages:
        for pickle in found.pickles:
            say(f"  {pickle.filename}  {pickle.inserted_at:%Y-%m-%d}  {pickle.size_bytes / 1e6:.1f} MB")
        say(f"{len(found.pickles)} pickles of {found.pickle_bytes / 1e6:.1f} MB {verb}.")
    if dry_run:
        say("Nothing was removed; remove it with --delete.")


def _facts(found: Removable, *, dry_run: bool) -> dict[str, Any]:
    return {
        "removed": not dry_run,
        "logs": {"runs": len(found.logs), "lines": found.log_lines, "bytes": found.log_bytes},
        "pickles": {
            "count": len(found.pickles),
            "bytes": found.pickle_bytes,
            "files": [
                {"id": one.id, "filename": one.filename, "bytes": one.size_bytes, "inserted_at": one.inserted_at}
                for one in found.pickles
            ],
        },
    }
