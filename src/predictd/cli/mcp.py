"""`predictd mcp`: the tools for agents over standard input and output."""

from typing import Annotated

import typer

from predictd.cli.output import say
from predictd.cli.remote import ProfileName, Server
from predictd.client import Client
from predictd.domain.limits import MIB
from predictd.mcp import LocalFiles, RemoteBackend, build_server


def mcp(
    server: Server = None,
    profile: ProfileName = None,
    max_file_mb: Annotated[
        int, typer.Option("--max-file-mb", help="Maximum size of a file for put_file, in MiB.")
    ] = 4096,
) -> None:
    """Serve the tools for agents (Model Context Protocol) over stdio, for any server. Agents start this command.

    The token comes from PREDICTD_TOKEN or from the profile; the parameter apiToken of a tool overrides it.

    Example: predictd mcp --server http://127.0.0.1:8000
    """
    with Client(server, None, profile) as client:
        tools = build_server(RemoteBackend(client), LocalFiles(max_file_mb * MIB))
        say(f"predictd mcp: serving the tools of {client.server} over stdio.")
        tools.run("stdio")
