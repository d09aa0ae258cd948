"""`predictd compare`: whether a new model is better than the one that is assigned."""

from pathlib import Path
from typing import Annotated

import typer

from predictd.cli.diagnostics_options import Asked, Data, Features, Html, Runtime, show_report
from predictd.cli.options import AsJson, Sandbox, Server, TrustUsers
from predictd.local_run import DEFAULT_SERVER
from predictd.reports import print_differences


def compare(
    new: Annotated[Path, typer.Argument(help="Pickle or predictions of the new model.", show_default=False)],
    assigned: Annotated[Path, typer.Argument(help="The same of the one it is to replace.", show_default=False)],
    data: Data = None,
    server: Server = DEFAULT_SERVER,
    runtime: Runtime = None,
    features: Features = True,
    html: Html = None,
    sandbox: Sandbox = None,
    trust_users: TrustUsers = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether a new model is better than the assigned one, era by era on the validation data.

    Each difference comes with an interval that holds the true one with 95 % confidence. `predictd diagnostics` has all
    figures of both. The exit code says nothing about the verdict: `--json` has it as `outcome`.

    Example: predictd compare new.pkl assigned.pkl --data ./v5.3
    """
    asked = Asked(
        data=data,
        server=server,
        runtime=runtime,
        features=features,
        html=html,
        sandbox=sandbox,
        trust_users=trust_users,
    )
    show_report([assigned, new], asked, print_differences, as_json=as_json)
