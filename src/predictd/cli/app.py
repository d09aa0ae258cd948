"""The command `predictd`."""

import logging
import sys
from importlib import import_module
from typing import Annotated

import typer
from rich.markup import escape

from predictd import __version__
from predictd.cli.output import fail
from predictd.domain.errors import OutageError, PredictdError, SetupError
from predictd.domain.outages import is_full

GROUPS = {
    "account": "account",
    "token": "token",
    "runtime": "runtime",
    "data": "data",
    "round": "rounds",
    "db": "db",
    "meta-model": "meta_model",
    "profile": "profile",
    "env": "environments",
    "notifications": "notifications",
}
COMMANDS = (
    "serve",
    "node",
    "run",
    "inspect",
    "check",
    "test",
    "diagnostics",
    "compare",
    "shadow",
    "record",
    "replay",
    "doctor",
    "audit",
    "login",
    "deploy",
    "mcp",
    "export",
    "retention",
)
# Commands that share a module.
SHARED = {
    "import": "import_",
    "status": "status",
    "logs": "status",
    "trigger": "assignment",
    "assign": "assignment",
    "unassign": "assignment",
    "rollback": "assignment",
    "fallback": "assignment",
    "cancel": "cancel",
    "list": "uploads",
    "download": "uploads",
}
_INSTALL_SERVER = "Install the server's part in the clone of predictd: pip install '.[server]'"


def build(wanted: str | None) -> typer.Typer:
    """The command line; of its parts only the wanted one, if that is one, because each takes time to import."""
    app = typer.Typer(
        name="predictd",
        help="An open, self-hosted Model Uploads platform.\n\nExample: predictd serve --port 8000",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(predictd)
    commands = {name: name for name in COMMANDS} | SHARED
    everything = wanted not in GROUPS and wanted not in commands
    for name, module in commands.items():
        if everything or wanted == name:
            _add(app, name, module, is_group=False)
    for name, module in GROUPS.items():
        if everything or wanted == name:
            _add(app, name, module, is_group=True)
    return app


def _add(app: typer.Typer, name: str, module: str, *, is_group: bool) -> None:
    """Add a command of its own or a group, or what says that it is not installed."""
    try:
        found = import_module(f"predictd.cli.{module}")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "predictd":
            raise
        _add_missing(app, name, missing)
        return
    if is_group:
        app.add_typer(found.app, name=name)
    else:
        # `list` would hide Python's own.
        app.command(name)(getattr(found, name, None) or getattr(found, f"{name}_"))


def _add_missing(app: typer.Typer, name: str, package: str) -> None:
    """A command in the place of one of the server's, where only the part that runs models is installed."""

    def missing(_: typer.Context) -> None:
        raise SetupError(f"predictd {name} needs {package}, which is not installed. {_INSTALL_SERVER}")

    loose = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(name, help=escape(f"(Not installed.) {_INSTALL_SERVER}"), context_settings=loose)(missing)


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
    _configure_logs(wanted)
    try:
        build(wanted)()
    except PredictdError as error:
        fail(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        outage = _outage(error)
        if outage is None:
            raise
        fail(outage)
        sys.exit(1)


def _outage(error: Exception) -> OutageError | None:
    """What is away that the command needs, if that is why it failed."""
    if is_full(error):
        return OutageError("The disk is full; make room on it and try again.")
    try:
        from predictd.db.retry import is_outage  # noqa: PLC0415 (without the server's part there is no database)
    except ModuleNotFoundError:
        return None
    if not is_outage(error):
        return None
    told = str(getattr(error, "orig", error)).strip().splitlines()[0]
    return OutageError(f"The database does not answer ({told}); see that it runs, or correct PREDICTD_DATABASE_URL.")


def _configure_logs(wanted: str | None) -> None:
    """A command tells a person what it did; only the server's own log is the whole story."""
    try:
        from predictd.cli.logs import configure_logs  # noqa: PLC0415 (without the server's part there is no such log)
    except ModuleNotFoundError:
        return
    configure_logs(logging.INFO if wanted == "serve" else logging.WARNING)
