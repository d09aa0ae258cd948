"""`predictd serve`: run the server."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from predictd.cli.logs import configure_logs
from predictd.cli.options import DataDir, Sandbox, TrustUsers, read_settings, setting_help
from predictd.cli.output import console, say
from predictd.cli.progress import Steps
from predictd.server.serve import serve as run_server


class Executor(StrEnum):
    """Where models run."""

    LOCAL = "local"
    RAY = "ray"


def serve(
    data_dir: DataDir = None,
    host: Annotated[str | None, typer.Option(help=setting_help("host"))] = None,
    port: Annotated[int | None, typer.Option(help=setting_help("port"))] = None,
    public_url: Annotated[str | None, typer.Option(help=setting_help("public_url"))] = None,
    calendar: Annotated[str | None, typer.Option(help=setting_help("calendar"))] = None,
    workers: Annotated[int | None, typer.Option(help=setting_help("workers"))] = None,
    executor: Annotated[Executor | None, typer.Option(help=setting_help("executor"))] = None,
    ray_address: Annotated[str | None, typer.Option(help=setting_help("ray_address"))] = None,
    sandbox: Sandbox = None,
    trust_users: TrustUsers = None,
) -> None:
    """Run the server: the API, the web pages, the workers that run models, and the calendar of rounds.

    The first start builds the default runtime and generates a synthetic data version. All data is stored in the data
    dir. Every setting is also an environment variable: see docs/reference/settings.md.

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
    say(f"Create an account with: predictd account create NAME --data-dir {home}")
