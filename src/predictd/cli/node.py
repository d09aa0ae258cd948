"""`predictd node`: run models for the servers of a cluster."""

import logging
from contextlib import suppress
from typing import Annotated

import typer

from predictd.cli.options import DataDir, Sandbox, TrustUsers, read_settings, setting_help
from predictd.cli.output import say
from predictd.cluster.node.main import run_node
from predictd.settings import refuse_example_secrets


def node(
    address: Annotated[str | None, typer.Option("--address", help=setting_help("ray_address"))] = None,
    head: Annotated[
        bool, typer.Option("--head", help="Start a new cluster; other nodes join it at --address.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(help="Concurrent runs on this node; 0 means one per processor, -1 none (env: PREDICTD_WORKERS)."),
    ] = None,
    memory_mb: Annotated[int | None, typer.Option(help=setting_help("node_memory_mb"))] = None,
    name: Annotated[str, typer.Option(help="Name of this node.", show_default="the host name")] = "",
    data_dir: DataDir = None,
    sandbox: Sandbox = None,
    trust_users: TrustUsers = None,
) -> None:
    """Run models on this machine for the servers of a Ray cluster.

    The command starts Ray. The node has no access to the database or the storage: each run comes with URLs that are
    valid for that run only. A runtime is built when the first run needs it. On SIGTERM the node lets its runs finish
    for PREDICTD_DRAIN_SECONDS and requeues the rest. docs/admins/cluster.md lists the ports to close.

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
        # A node needs no extra server; without it, only warnings are logged.
        from predictd.cli.logs import configure_logs  # noqa: PLC0415

        configure_logs(logging.INFO, settings.log_format)
    run_node(settings, is_head=head, name=name, show=say)
