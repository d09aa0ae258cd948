"""`predictd data`: the data versions."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from predictd.cli.options import AsJson, DataDir, opened
from predictd.cli.output import console, print_rows, say
from predictd.cli.steps import Steps
from predictd.data import list_version
from predictd.db.catalogue import list_data_versions
from predictd.server.preparation import import_data

app = typer.Typer(help="Data versions.\n\nExample: predictd data import ./v5.3 --version v5.3", no_args_is_help=True)


@app.command("list")
def list_(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the data versions.

    Example: predictd data list --json
    """
    with opened(data_dir) as deployment, deployment.database.read() as session:
        rows = [
            {
                "name": one.name,
                "id": one.id,
                "default": one.is_default,
                "files": list_version(deployment.storage, one.name),
                "inserted_at": one.inserted_at,
            }
            for one in list_data_versions(session)
        ]
    print_rows(rows, as_json=as_json, empty="There is no data version; the first start of the server makes one.")


@app.command("import")
def import_(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of files as Numerai publishes them.", show_default=False)
    ],
    version: Annotated[str, typer.Option(help="Name of the new data version, for example v5.3.")],
    default: Annotated[bool, typer.Option("--default", help="Make it the default of new uploads.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Import a folder of data files (features.json, live.parquet, train.parquet, ...) as a data version.

    Example: predictd data import ~/numerai/v5.3 --version v5.3-numerai --default
    """
    with opened(data_dir) as deployment, Progress(console=console) as bars:
        import_data(deployment, folder, version, Steps(bars).show, default=default)
    say(f"Data version {version} is imported.")
