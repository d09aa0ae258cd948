"""`predictd diagnostics`: what predictions or models are worth on the validation data."""

from pathlib import Path
from typing import Annotated

import typer

from predictd.cli.diagnostics_options import Asked, Data, Features, Html, Name, Runtime, show_report
from predictd.cli.options import AsJson, Sandbox, Server, TrustUsers
from predictd.local_run import DEFAULT_SERVER
from predictd.reports import print_report


def diagnostics(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE_OR_PICKLE",
            help="CSV or parquet files of the columns id and prediction, or pickles to run.",
            show_default=False,
        ),
    ],
    data: Data = None,
    server: Server = DEFAULT_SERVER,
    runtime: Runtime = None,
    features: Features = True,
    html: Html = None,
    name: Name = None,
    sandbox: Sandbox = None,
    trust_users: TrustUsers = None,
    as_json: AsJson = False,
) -> None:
    """Measure validation predictions, or the models that make them: CORR, MMC, FNC, Sharpe, drawdown and so on.

    A file may lack eras or ids. A pickle is run in the sandbox as `predictd run` does, era by era, for at most an hour:
    PREDICTD_DIAGNOSTICS_SECONDS=7200 gives it two. Several are compared with the first. The exit code is 1 when a model
    failed or a file can't be taken.

    Example: predictd diagnostics predictions.parquet model.pkl --data ./v5.3 --html report.html
    """
    asked = Asked(
        data=data,
        server=server,
        runtime=runtime,
        features=features,
        html=html,
        names=name or (),
        sandbox=sandbox,
        trust_users=trust_users,
    )
    show_report(files, asked, print_report, as_json=as_json)
