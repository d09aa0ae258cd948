"""`predictd round`: opening and closing rounds by hand."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from predictd.cli.options import AsJson, DataDir, opened
from predictd.cli.output import print_json, print_rows, say
from predictd.db.models import Round
from predictd.db.rounds import list_rounds, status_of
from predictd.domain.names import CLASSIC
from predictd.rounds.calendar import parse_length
from predictd.rounds.lifecycle import close_by_hand, open_by_hand
from predictd.rounds.manual_scoring import score_by_hand
from predictd.rounds.targets import read_targets
from predictd.scoring.evaluation_data import TARGET
from predictd.server.scoring import scorer_of

Number = Annotated[
    int | None, typer.Argument(help="The round; by default the one that the targets are for.", show_default=False)
]
TargetsFile = Annotated[Path | None, typer.Option(help="The targets: parquet or CSV, index 'id'.", show_default=False)]
TargetColumn = Annotated[str, typer.Option(help="Column of the targets.")]

app = typer.Typer(help="Rounds.\n\nExample: predictd round open --length 2h", no_args_is_help=True)


@app.command("open")
def open_(
    length: Annotated[str, typer.Option(help="How long it is open: a number and s, m, h or d.")] = "1h",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Open the next round now: publish its live data and run every assigned pickle. An open round is closed for it.

    Example: predictd round open --length 2h
    """
    with opened(data_dir) as deployment:
        result = open_by_hand(deployment.database, deployment.storage, datetime.now(UTC), parse_length(length))
    if as_json:
        print_json({**_row(result.round), "triggered": result.triggered})
        return
    if result.closed is not None:
        say(f"Round {result.closed.number} is closed.")
    say(
        f"Round {result.round.number} is open until {result.round.close_time:%Y-%m-%d %H:%M:%S} UTC; "
        f"{result.triggered} pickles were triggered."
    )


@app.command()
def close(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Close the open round now; what is submitted afterwards is late.

    Example: predictd round close
    """
    with opened(data_dir) as deployment:
        round_ = close_by_hand(deployment.database, datetime.now(UTC))
    if as_json:
        print_json(_row(round_))
        return
    say(f"Round {round_.number} is closed.")


@app.command("list")
def list_(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the rounds, newest first.

    Example: predictd round list --json
    """
    with opened(data_dir) as deployment, deployment.database.read() as session:
        rows = [_row(one) for one in list_rounds(session, CLASSIC)]
    print_rows(rows, as_json=as_json, empty="No round has opened yet; open one with: predictd round open")


@app.command()
def resolve(
    number: Number = None,
    targets: TargetsFile = None,
    target: TargetColumn = TARGET,
    replace: Annotated[bool, typer.Option(help="Give a resolved round its final scores anew.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Give a closed round its final scores. Without --targets, those of synthetic data are taken.

    Example: predictd round resolve 12 --targets targets.parquet
    """
    _score(data_dir, number, targets, target, final=True, again=replace, as_json=as_json)


@app.command()
def score(
    targets: Annotated[Path, typer.Option(help="Targets as they are known today: parquet or CSV, index 'id'.")],
    number: Number = None,
    target: TargetColumn = TARGET,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Give a closed round its next daily scores, by targets that are not final yet.

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
    known = None if path is None else read_targets(path, column)
    with opened(data_dir) as deployment:
        done = score_by_hand(scorer_of(deployment), number, known, datetime.now(UTC), final=final, again=again)
        with deployment.database.read() as session:
            row = _row(session.get_one(Round, done.round.id))
    if as_json:
        print_json({**row, "scored": done.submissions, "data_versions": done.versions})
        return
    what = "is resolved" if final else f"has its scores of day {row['score_days']}"
    say(f"Round {row['number']} {what}: {done.submissions} submissions were scored on {', '.join(done.versions)}.")


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
