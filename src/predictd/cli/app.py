"""The command `predictd`."""

import logging
import sys
from importlib import import_module
from typing import Annotated

import typer

from predictd import __version__
from predictd.cli.logs import configure_logs
from predictd.cli.output import fail
from predictd.domain.errors import PredictdError

GROUPS = {"account": "account", "token": "token", "runtime": "runtime", "data": "data", "round": "rounds"}


def build(wanted: str | None) -> typer.Typer:
    """The command line; of its groups only the wanted one, if that is a group, because each takes time to import."""
    app = typer.Typer(
        name="predictd",
        help="An open, self-hosted Model Uploads platform.\n\nExample: predictd serve --port 8000",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(predictd)
    if wanted not in GROUPS:
        app.command("serve")(import_module("predictd.cli.serve").serve)
    for name, module in GROUPS.items():
        if wanted == name or (wanted not in GROUPS and wanted != "serve"):
            app.add_typer(import_module(f"predictd.cli.{module}").app, name=name)
    return app


def show_version(value: bool) -> None:
    """Print the version and end."""
    if value:
        typer.echo(f"predictd {__version__}")
        raise typer.Exit


def predictd(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """An open, self-hosted Model Uploads platform.

    Example: predictd serve --port 8000
    """


def run() -> None:
    """Run the command line; an error that a person can act on is one line and exit code 1."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else None
    # A command tells a person what it did; only the server's own log is the whole story.
    configure_logs(logging.INFO if wanted == "serve" else logging.WARNING)
    try:
        build(wanted)()
    except PredictdError as error:
        fail(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
