"""`predictd round`: opening and closing rounds by hand."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from predictd.cli.options import AsJson, DataDir, opened
from predictd.cli.output import print_json, print_rows, say
from predictd.db.rounds import list_rounds, status_of
from predictd.db.tables import Round
from predictd.domain.names import CLASSIC
from predictd.rounds.calendar import parse_length
from predictd.rounds.life import close_by_hand, open_by_hand

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


def _row(round_: Round) -> dict[str, Any]:
    return {
        "number": round_.number,
        "status": status_of(round_, datetime.now(UTC)).value,
        "open_time": round_.open_time,
        "close_time": round_.close_time,
        "resolve_time": round_.resolve_time,
    }
