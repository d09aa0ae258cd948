"""`predictd round`: open, close, score and resolve rounds manually."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from predictd.cli.deployment_access import use_deployment
from predictd.cli.options import AsJson, DataDir
from predictd.cli.output import print_json, print_rows, say
from predictd.db.models import Round
from predictd.db.rounds import list_rounds, status_of
from predictd.domain.names import CLASSIC
from predictd.rounds.calendar import parse_length
from predictd.rounds.lifecycle import close_by_hand, open_by_hand
from predictd.rounds.manual_scoring import score_by_hand
from predictd.rounds.targets import read_targets
from predictd.scoring.evaluation_data import TARGET
from predictd.server.deployment import round_scorer

Number = Annotated[
    int | None, typer.Argument(metavar="[NUMBER]", help="Number of the round.", show_default="the targets' round")
]
TARGETS_HELP = "File of targets: parquet or CSV with the index 'id'."
TargetColumn = Annotated[str, typer.Option(help="Column of the targets in the file.")]

app = typer.Typer(help="Rounds.\n\nExample: predictd round open --length 2h", no_args_is_help=True)


@app.command("open")
def open_(
    length: Annotated[str, typer.Option(help="How long the round is open: a number and s, m, h or d.")] = "1h",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Open the next round now: publish its live data and run every assigned pickle. This closes an open round.

    Example: predictd round open --length 2h
    """
    with use_deployment(data_dir) as deployment:
        result = open_by_hand(deployment.database, deployment.storage, datetime.now(UTC), parse_length(length))
    if as_json:
        print_json({**_row(result.round), "queued": result.queued})
        return
    if result.closed is not None:
        say(f"Closed round {result.closed.number}.")
    say(
        f"Opened round {result.round.number} until {result.round.close_time:%Y-%m-%d %H:%M:%S} UTC and queued "
        f"{result.queued} runs."
    )


@app.command()
def close(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Close the open round now. Later submissions are late.

    Example: predictd round close
    """
    with use_deployment(data_dir) as deployment:
        round_ = close_by_hand(deployment.database, datetime.now(UTC))
    if as_json:
        print_json(_row(round_))
        return
    say(f"Closed round {round_.number}.")


@app.command("list")
def list_(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the rounds, newest first.

    Example: predictd round list --json
    """
    with use_deployment(data_dir) as deployment, deployment.database.read() as session:
        rows = [_row(round_) for round_ in list_rounds(session, CLASSIC)]
    print_rows(rows, as_json=as_json, empty="There are no rounds; open one with: predictd round open")


@app.command()
def resolve(
    number: Number = None,
    targets: Annotated[
        Path | None, typer.Option(help=TARGETS_HELP, show_default="the targets of synthetic data")
    ] = None,
    target: TargetColumn = TARGET,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the scores of a resolved round.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Resolve a closed round: compute its final scores.

    Example: predictd round resolve 12 --targets targets.parquet
    """
    _score(data_dir, number, targets, target, final=True, again=replace, as_json=as_json)


@app.command()
def score(
    targets: Annotated[Path, typer.Option(help=TARGETS_HELP, show_default=False)],
    number: Number = None,
    target: TargetColumn = TARGET,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Compute the next daily scores of a closed round, with targets that are not final.

    Example: predictd round score 12 --targets today.csv
    """
    _score(data_dir, number, targets, target, final=False, again=False, as_json=as_json)


def _score(
    data_dir: Path | None,
    number: int | None,
    path: Path | None,
    column: str,
    *,
    final: bool,
    again: bool,
    as_json: bool,
) -> None:
    targets = None if path is None else read_targets(path, column)
    with use_deployment(data_dir) as deployment:
        result = score_by_hand(round_scorer(deployment), number, targets, datetime.now(UTC), final=final, again=again)
        with deployment.database.read() as session:
            row = _row(session.get_one(Round, result.round.id))
    if as_json:
        print_json({**row, "scored": result.submissions, "data_versions": result.versions})
        return
    action = f"Resolved round {row['number']}" if final else f"Scored day {row['score_days']} of round {row['number']}"
    say(f"{action}: {result.submissions} submissions on {', '.join(result.versions)}.")


def _row(round_: Round) -> dict[str, Any]:
    return {
        "number": round_.number,
        "status": status_of(round_, datetime.now(UTC)).value,
        "open_time": round_.open_time,
        "close_time": round_.close_time,
        "resolve_time": round_.resolve_time,
        "score_days": round_.score_days,
        "resolved_at": round_.resolved_at,
    }
