"""`predictd export` and `predictd import`: a whole deployment as a folder or a tar file."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from predictd.backup import export_deployment, import_deployment
from predictd.cli.deployment_access import use_deployment
from predictd.cli.options import AsJson, DataDir, read_settings
from predictd.cli.output import console, print_json, say
from predictd.cli.progress import Steps
from predictd.db.audit import record_event
from predictd.server.serve import lock_home


def export(
    path: Annotated[
        Path, typer.Argument(help="A new folder, or a new file whose name ends in .tar.", show_default=False)
    ],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Export every table and every object of the deployment to a folder or a tar file, with SHA-256 hashes.

    The server may keep running: all tables come from one snapshot. Protect the export like the database: it contains
    the hashes of passwords and tokens. `predictd import` restores it, also to another database and storage.

    Example: predictd export /backup/predictd.tar
    """
    with use_deployment(data_dir) as deployment, Progress(console=console) as bars:
        with deployment.database.write() as session:
            record_event(session, "deployment.export", "deployment", "", str(path))
        done = export_deployment(deployment.database, deployment.storage, path, Steps(bars, "Exporting").show)
    manifest = done.manifest
    if manifest.missing:
        say(
            f"warning: {len(manifest.missing)} objects of the database are not in storage, first {manifest.missing[0]}."
        )
    if as_json:
        print_json({"path": str(path), **asdict(manifest)})
        return
    rows = sum(table.rows for table in manifest.tables)
    say(
        f"Exported {len(manifest.tables)} tables with {rows} rows and {manifest.object_count} objects "
        f"({manifest.object_bytes / 1e6:.1f} MB) to {path}."
    )


def import_(
    path: Annotated[Path, typer.Argument(help="The folder or tar file of an export.", show_default=False)],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Import an export into an empty deployment, with the database and storage of the settings.

    Every hash is verified before anything is written. If the import is interrupted, run it again: it resumes. An export
    contains the locks of the runtimes, not the runtimes: `predictd runtime build --missing` builds them.

    Example: PREDICTD_DATABASE_URL=postgresql+psycopg://... predictd import /backup/predictd.tar
    """
    home = read_settings(data_dir=data_dir).home
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock_home(home), use_deployment(data_dir) as deployment, Progress(console=console) as bars:
        done = import_deployment(deployment.database, deployment.storage, path, Steps(bars, "Importing").show)
    manifest = done.manifest
    rows = sum(table.rows for table in manifest.tables)
    if as_json:
        print_json(
            {"tables": len(manifest.tables), "rows": rows, "objects": manifest.object_count, "resumed": done.resumed}
        )
        return
    say(f"Imported {len(manifest.tables)} tables with {rows} rows and {manifest.object_count} objects.")
    say("Build the runtimes with: predictd runtime build --missing")
