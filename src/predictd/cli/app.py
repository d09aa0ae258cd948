"""The command `predictd`."""

import sys
from typing import Annotated

import typer

from predictd import __version__
from predictd.cli import account, data, rounds, runtime, serve, token
from predictd.cli.logs import configure_logs
from predictd.cli.output import fail
from predictd.domain.errors import PredictdError

app = typer.Typer(
    name="predictd",
    help="An open, self-hosted Model Uploads platform.\n\nExample: predictd serve --port 8000",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.serve)
app.add_typer(account.app, name="account")
app.add_typer(token.app, name="token")
app.add_typer(runtime.app, name="runtime")
app.add_typer(data.app, name="data")
app.add_typer(rounds.app, name="round")


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"predictd {__version__}")
        raise typer.Exit


@app.callback()
def _predictd(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """An open, self-hosted Model Uploads platform.

    Example: predictd serve --port 8000
    """


def run() -> None:
    """Run the command line; an error that a person can act on is one line and exit code 1."""
    configure_logs()
    try:
        app()
    except PredictdError as error:
        fail(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
