"""`predictd import`: a deployment from an export."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from predictd.backup import import_deployment
from predictd.cli.options import AsJson, DataDir, opened, read_settings
from predictd.cli.output import console, print_json, say
from predictd.cli.steps import Steps
from predictd.server.app import lock_home


def import_(
    path: Annotated[Path, typer.Argument(help="The folder or tar file of an export.", show_default=False)],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Fill an empty deployment from an export: its database and storage are those of the settings.

    Every hash is verified before anything is written. If it is cut short, run it again: it goes on. Runtimes are not
    in an export, but their locks are: `predictd runtime build --missing` builds them.

    Example: PREDICTD_DATABASE_URL=postgresql+psycopg://... predictd import /backup/predictd.tar
    """
    home = read_settings(data_dir=data_dir).home
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock_home(home), opened(data_dir) as deployment, Progress(console=console) as bars:
        done = import_deployment(deployment.database, deployment.storage, path, Steps(bars, "Importing").show)
    manifest = done.manifest
    rows = sum(table.rows for table in manifest.tables)
    if as_json:
        print_json(
            {"tables": len(manifest.tables), "rows": rows, "objects": manifest.object_count, "resumed": done.resumed}
        )
        return
    say(f"{len(manifest.tables)} tables with {rows} rows and {manifest.object_count} objects are imported.")
    say("Build the runtimes with: predictd runtime build --missing")
