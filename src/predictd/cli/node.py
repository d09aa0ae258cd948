"""`predictd node`."""

import logging
from contextlib import suppress
from typing import Annotated

import typer

from predictd.cli.options import DataDir, read_settings
from predictd.cli.output import say
from predictd.cluster.node.main import run_node
from predictd.domain.runs import SandboxKind
from predictd.settings import Settings, refuse_example_secrets


def _help(name: str) -> str:
    return f"{Settings.model_fields[name].description} (env: PREDICTD_{name.upper()})"


def node(
    address: Annotated[str | None, typer.Option("--address", help=_help("ray_address"))] = None,
    head: Annotated[
        bool, typer.Option("--head", help="Be the head of a new cluster; --address is where the others reach it.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(help="Models that run here at once; 0 means one per processor, -1 none (env: PREDICTD_WORKERS)."),
    ] = None,
    memory_mb: Annotated[int | None, typer.Option(help=_help("node_memory_mb"))] = None,
    name: Annotated[str, typer.Option(help="Name of this node; by default that of the machine.")] = "",
    data_dir: DataDir = None,
    sandbox: Annotated[SandboxKind | None, typer.Option(help=_help("sandbox"))] = None,
    trust_users: Annotated[bool | None, typer.Option("--trust-users", help=_help("trust_users"))] = None,
) -> None:
    """Run models for the servers of a Ray cluster, on this machine.

    It starts Ray here and has no access to the database or the storage: each run comes with URLs that are good for that
    run alone. Runtimes are built when the first run wants them, and kept. SIGTERM lets the runs end, within
    PREDICTD_DRAIN_SECONDS, and gives back the others. See docs/cluster.md, also for which ports must be closed.

    Example: predictd node --head --address 10.0.0.5:6379, then on others: predictd node --address 10.0.0.5:6379
    """
    settings = read_settings(
        ray_address=address,
        workers=workers,
        node_memory_mb=memory_mb,
        data_dir=data_dir,
        sandbox=sandbox,
        trust_users=trust_users,
    )
    refuse_example_secrets(settings)
    with suppress(ModuleNotFoundError):
        # A node may go without the server's part, and then logs what goes wrong, without more.
        from predictd.cli.logs import configure_logs  # noqa: PLC0415

        configure_logs(logging.INFO, settings.log_format)
    run_node(settings, is_head=head, name=name, show=say)
