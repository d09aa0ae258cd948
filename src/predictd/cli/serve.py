"""`predictd serve`."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from predictd.cli.logs import configure_logs
from predictd.cli.options import DataDir, read_settings
from predictd.cli.output import console, say
from predictd.cli.steps import Steps
from predictd.domain.runs import SandboxKind
from predictd.server.app import serve as run_server
from predictd.settings import Settings


class Executor(StrEnum):
    """Where models run."""

    LOCAL = "local"
    RAY = "ray"


def _help(name: str) -> str:
    return f"{Settings.model_fields[name].description} (env: PREDICTD_{name.upper()})"


def serve(
    data_dir: DataDir = None,
    host: Annotated[str | None, typer.Option(help=_help("host"))] = None,
    port: Annotated[int | None, typer.Option(help=_help("port"))] = None,
    public_url: Annotated[str | None, typer.Option(help=_help("public_url"))] = None,
    calendar: Annotated[str | None, typer.Option(help=_help("calendar"))] = None,
    workers: Annotated[int | None, typer.Option(help=_help("workers"))] = None,
    executor: Annotated[Executor | None, typer.Option(help=_help("executor"))] = None,
    ray_address: Annotated[str | None, typer.Option(help=_help("ray_address"))] = None,
    sandbox: Annotated[SandboxKind | None, typer.Option(help=_help("sandbox"))] = None,
    trust_users: Annotated[bool | None, typer.Option("--trust-users", help=_help("trust_users"))] = None,
) -> None:
    """Run the server: the API, the workers that run models, and the calendar of rounds.

    The first start builds the default runtime and generates a synthetic data version. Everything is kept in the data
    dir. All settings, also those without an option here, are environment variables: see docs/settings.md.

    Example: predictd serve --data-dir ~/.predictd --port 8000 --calendar "every 5m"

    With the nodes of a cluster: predictd serve --host 0.0.0.0 --executor ray --ray-address 10.0.0.5:6379
    """
    settings = read_settings(
        data_dir=data_dir,
        host=host,
        port=port,
        public_url=public_url,
        calendar=calendar,
        workers=workers,
        executor=executor.value if executor else None,
        ray_address=ray_address,
        sandbox=sandbox,
        trust_users=trust_users,
    )
    configure_logs(logging.INFO, settings.log_format)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=False) as bars:
        steps = Steps(bars)
        run_server(settings, say=say, progress=steps.show, ready=lambda address: _ready(bars, settings.home, address))


def _ready(bars: Progress, home: Path, address: str) -> None:
    bars.stop()
    say(f"predictd is ready at {address} (data dir {home}); stop it with Ctrl-C.")
    say(f"Make an account with: predictd account create NAME --data-dir {home}")
