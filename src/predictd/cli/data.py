"""`predictd data`: data versions."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from predictd.cli.deployment_access import use_deployment
from predictd.cli.options import AsJson, DataDir, MakeDefault, OfferAgain
from predictd.cli.output import console, print_rows, say
from predictd.cli.progress import Steps
from predictd.data.layout import list_version
from predictd.db.catalog import choose_data_version, list_data_versions, set_default, set_deprecated
from predictd.server.setup import import_data

app = typer.Typer(help="Data versions.\n\nExample: predictd data import ./v5.3 --version v5.3", no_args_is_help=True)

Version = Annotated[str, typer.Argument(metavar="VERSION", help="Name of the data version.", show_default=False)]


@app.command("list")
def list_(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the data versions.

    Example: predictd data list --json
    """
    with use_deployment(data_dir) as deployment, deployment.database.read() as session:
        rows = [
            {
                "name": version.name,
                "id": version.id,
                "default": version.is_default,
                "files": list_version(deployment.storage, version.name),
                "inserted_at": version.inserted_at,
            }
            for version in list_data_versions(session)
        ]
    print_rows(rows, as_json=as_json, empty="There are no data versions; the first start of the server creates one.")


@app.command()
def default(version: Version, data_dir: DataDir = None) -> None:
    """Make a data version the default for new uploads.

    Example: predictd data default v5.3-numerai
    """
    with use_deployment(data_dir) as deployment, deployment.database.write() as session:
        set_default(session, choose_data_version(session, version))
    say(f"Data version {version} is now the default.")


@app.command()
def deprecate(
    version: Version,
    off: OfferAgain = False,
    data_dir: DataDir = None,
) -> None:
    """Deprecate a data version: new uploads can't choose it. Rounds still publish it for existing pickles.

    Example: predictd data deprecate v5.2
    """
    with use_deployment(data_dir) as deployment, deployment.database.write() as session:
        set_deprecated(session, choose_data_version(session, version), is_deprecated=not off)
    say(f"Data version {version} is {'available to new uploads again' if off else 'deprecated'}.")


@app.command("import")
def import_(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with files as published by Numerai.", show_default=False)
    ],
    version: Annotated[str, typer.Option(help="Name of the new data version, such as v5.3.")],
    default: MakeDefault = False,
    data_dir: DataDir = None,
) -> None:
    """Import a folder of data files (features.json, live.parquet, train.parquet, ...) as a data version.

    Example: predictd data import ~/numerai/v5.3 --version v5.3-numerai --default
    """
    with use_deployment(data_dir) as deployment, Progress(console=console) as bars:
        import_data(deployment, folder, version, Steps(bars).show, default=default)
    say(f"Imported data version {version}.")
