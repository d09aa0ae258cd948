"""The command `predictd`."""

import logging
import sys
from importlib import import_module
from typing import Annotated

import typer
from rich.markup import escape

from predictd import __version__
from predictd.cli.output import fail
from predictd.domain.errors import OutageError, PredictdError, SetupError, is_disk_full

# Names of commands and groups, each with its module; only the modules that a command line needs are imported.
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
COMMANDS = {
    "serve": "serve",
    "node": "node",
    "run": "run",
    "inspect": "inspect",
    "check": "check",
    "test": "test",
    "diagnostics": "diagnostics",
    "compare": "diagnostics",
    "login": "login",
    "list": "uploads",
    "deploy": "deploy",
    "status": "status",
    "logs": "status",
    "assign": "assign",
    "unassign": "assign",
    "rollback": "assign",
    "fallback": "assign",
    "run-now": "run_commands",
    "cancel": "run_commands",
    "record": "run_commands",
    "download": "uploads",
    "mcp": "mcp",
    "doctor": "doctor",
    "audit": "audit",
    "shadow": "shadow",
    "replay": "replay",
    "export": "backup",
    "import": "backup",
    "retention": "retention",
}
_INSTALL_SERVER = "Install it in the clone of predictd: pip install '.[server]'"


def build(command: str | None) -> typer.Typer:
    """Build the command line; only with this command or group, if it is one, because each takes time to import."""
    app = typer.Typer(
        name="predictd",
        help="An open, self-hosted Model Uploads platform.\n\nExample: predictd serve --port 8000",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(predictd)
    is_complete = command not in GROUPS and command not in COMMANDS
    for name, module in COMMANDS.items():
        if is_complete or command == name:
            _add(app, name, module, is_group=False)
    for name, module in GROUPS.items():
        if is_complete or command == name:
            _add(app, name, module, is_group=True)
    return app


def _add(app: typer.Typer, name: str, module_name: str, *, is_group: bool) -> None:
    """Add a command or a group; where its packages are not installed, a command that reports that."""
    try:
        module = import_module(f"predictd.cli.{module_name}")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "predictd":
            raise
        _add_not_installed(app, name, package)
        return
    if is_group:
        app.add_typer(module.app, name=name)
    else:
        function = name.replace("-", "_")
        # `list_` and `import_` leave Python's own names alone.
        app.command(name)(getattr(module, function, None) or getattr(module, f"{function}_"))


def _add_not_installed(app: typer.Typer, name: str, package: str) -> None:
    """Add a command that reports that the extra `server` is not installed."""

    def fail_to_run(_: typer.Context) -> None:
        raise SetupError(f"predictd {name} needs {package}, which is not installed. {_INSTALL_SERVER}")

    any_arguments = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(name, help=escape(f"(Not installed.) {_INSTALL_SERVER}"), context_settings=any_arguments)(fail_to_run)


def show_version(value: bool) -> None:
    """Print the version and exit."""
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
    """Run the command line; an expected error is printed in one line, with exit code 1."""
    command = sys.argv[1] if len(sys.argv) > 1 else None
    _configure_logs(command)
    try:
        build(command)()
    except PredictdError as error:
        fail(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        outage = _outage_of(error)
        if outage is None:
            raise
        fail(outage)
        sys.exit(1)


def _outage_of(error: Exception) -> OutageError | None:
    """Return the error for a full disk or an unreachable database, if that is what failed."""
    if is_disk_full(error):
        return OutageError("The disk is full. Free some space and try again.")
    try:
        from predictd.db.retry import is_outage  # noqa: PLC0415 (needs the extra server)
    except ModuleNotFoundError:
        return None
    if not is_outage(error):
        return None
    reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
    return OutageError(
        f"The database is unavailable ({reason}). Check that it is running and that PREDICTD_DATABASE_URL is correct."
    )


def _configure_logs(command: str | None) -> None:
    """Log everything for `serve`, only warnings for other commands: they print what they do."""
    try:
        from predictd.cli.logs import configure_logs  # noqa: PLC0415 (needs the extra server)
    except ModuleNotFoundError:
        return
    configure_logs(logging.INFO if command == "serve" else logging.WARNING)
