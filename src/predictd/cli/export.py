"""`predictd export`: everything of a deployment in a folder or a tar file."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from predictd.backup import export_deployment
from predictd.cli.options import AsJson, DataDir, opened
from predictd.cli.output import console, print_json, say
from predictd.cli.steps import Steps
from predictd.db.audit import record


def export(
    path: Annotated[Path, typer.Argument(help="A new folder, or a new file that ends with .tar.", show_default=False)],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write every table and every object of the deployment to a folder or a tar file, with their SHA-256.

    A server may run meanwhile: the tables are those of one moment. Keep the export like the database: it holds the
    hashes of passwords and tokens. `predictd import` makes a deployment of it, on another database and storage too.

    Example: predictd export /backup/predictd.tar
    """
    with opened(data_dir) as deployment, Progress(console=console) as bars:
        with deployment.database.write() as session:
            record(session, "deployment.export", "deployment", "", str(path))
        done = export_deployment(deployment.database, deployment.storage, path, Steps(bars, "Exporting").show)
    manifest = done.manifest
    if manifest.missing:
        say(f"warning: {len(manifest.missing)} objects that rows name are not in storage, {manifest.missing[0]} first.")
    if as_json:
        print_json({"path": str(path), **asdict(manifest)})
        return
    rows = sum(table.rows for table in manifest.tables)
    say(
        f"{path} holds {len(manifest.tables)} tables with {rows} rows and {manifest.object_count} objects of "
        f"{manifest.object_bytes / 1e6:.1f} MB."
    )
