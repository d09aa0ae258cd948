"""`predictd retention`: delete old logs and pickles."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.progress import Progress

from predictd.admin.retention import Expired, find_expired, remove_expired
from predictd.cli.deployment_access import use_deployment
from predictd.cli.options import AsJson, DataDir
from predictd.cli.output import console, print_json, say
from predictd.cli.progress import Steps
from predictd.db.audit import record_event
from predictd.domain.errors import InvalidInputError
from predictd.rounds.calendar import parse_length


def retention(
    logs: Annotated[
        str, typer.Option(help="Maximum age of logs, such as 90d (env: PREDICTD_LOG_RETENTION; default: no limit).")
    ] = "",
    pickles: Annotated[
        str,
        typer.Option(help="Maximum age of pickles, such as 365d (env: PREDICTD_PICKLE_RETENTION; default: no limit)."),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run/--delete", help="List what would be deleted, or delete it.")
    ] = True,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List logs and pickles over a maximum age; with --delete, delete them.

    Only logs of runs that have ended are deleted. The file of a pickle is deleted if no model uses it or would fall
    back to it, and it has not run within that age. The history of runs, submissions, scores and predictions remains.

    Example: predictd retention --logs 90d --pickles 365d --dry-run
    """
    with use_deployment(data_dir) as deployment:
        settings = deployment.settings
        options = {"logs": logs or settings.log_retention, "pickles": pickles or settings.pickle_retention}
        ages = {kind: parse_length(age) for kind, age in options.items() if age}
        if not ages:
            raise InvalidInputError(
                "No maximum age is set. Use --logs 90d or --pickles 365d, or PREDICTD_LOG_RETENTION."
            )
        if dry_run:
            with deployment.database.read() as session:
                removable = find_expired(session, datetime.now(UTC), **ages)
        else:
            with deployment.database.write() as session:
                record_event(session, "deployment.retention", "deployment", "", "old logs and pickles", **options)
            with Progress(console=console) as bars:
                show = Steps(bars, "Deleting").show
                removable = remove_expired(
                    deployment.database, deployment.storage, datetime.now(UTC), **ages, progress=show
                )
    if as_json:
        print_json(_summary(removable, dry_run=dry_run))
        return
    verb = "Would delete" if dry_run else "Deleted"
    if "logs" in ages:
        size = removable.log_bytes / 1e6
        say(f"{verb} {len(removable.logs)} logs with {removable.log_lines} lines ({size:.1f} MB).")
    if "pickles" in ages:
        for pickle in removable.pickles:
            say(f"  {pickle.filename}  {pickle.inserted_at:%Y-%m-%d}  {pickle.size_bytes / 1e6:.1f} MB")
        say(f"{verb} {len(removable.pickles)} pickles ({removable.pickle_bytes / 1e6:.1f} MB).")
    if dry_run:
        say("Nothing was deleted. Repeat with --delete to delete it.")


def _summary(removable: Expired, *, dry_run: bool) -> dict[str, Any]:
    return {
        "removed": not dry_run,
        "logs": {"runs": len(removable.logs), "lines": removable.log_lines, "bytes": removable.log_bytes},
        "pickles": {
            "count": len(removable.pickles),
            "bytes": removable.pickle_bytes,
            "files": [
                {
                    "id": pickle.id,
                    "filename": pickle.filename,
                    "bytes": pickle.size_bytes,
                    "inserted_at": pickle.inserted_at,
                }
                for pickle in removable.pickles
            ],
        },
    }
