"""`predictd data`: the data versions."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from predictd.cli.options import AsJson, DataDir, opened
from predictd.cli.output import console, print_rows, say
from predictd.cli.steps import Steps
from predictd.data.layout import list_version
from predictd.db.catalogue import choose_data_version, list_data_versions, make_default, set_deprecated
from predictd.server.setup import import_data

app = typer.Typer(help="Data versions.\n\nExample: predictd data import ./v5.3 --version v5.3", no_args_is_help=True)

Version = Annotated[str, typer.Argument(help="Name of the data version.")]


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


@app.command()
def default(version: Version, data_dir: DataDir = None) -> None:
    """Make a data version the default of new uploads.

    Example: predictd data default v5.3-numerai
    """
    with opened(data_dir) as deployment, deployment.database.write() as session:
        make_default(session, choose_data_version(session, version))
    say(f"Data version {version} is the default.")


@app.command()
def deprecate(
    version: Version,
    off: Annotated[bool, typer.Option("--off", help="Offer it again.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Offer a data version to new uploads no more; rounds go on publishing it for the pickles that were made for it.

    Example: predictd data deprecate v5.2
    """
    with opened(data_dir) as deployment, deployment.database.write() as session:
        set_deprecated(session, choose_data_version(session, version), is_deprecated=not off)
    say(f"Data version {version} is {'offered again' if off else 'deprecated'}.")


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
