"""What commands print: data to standard output, everything else to standard error."""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from predictd.domain.errors import PredictdError
from predictd.domain.terminal import printable

console = Console(stderr=True, highlight=False)


def say(line: str) -> None:
    """A line for people, on standard error."""
    console.print(line, markup=False, soft_wrap=True)


def fail(error: PredictdError) -> None:
    """An error for people, on standard error."""
    console.print("[bold red]error:[/] ", end="")
    console.print(error.message, markup=False, soft_wrap=True)


def refused(error: PredictdError, *, as_json: bool) -> typer.Exit:
    """Tell an error, also as JSON if that is wanted; to be raised: it ends the command with 1."""
    fail(error)
    if as_json:
        print_json({"ok": False, "code": error.code, "message": error.message})
    return typer.Exit(1)


def plain(text: str) -> str:
    """What a stranger wrote, without the codes that would steer a terminal."""
    return printable(text, "\n\t")


def print_json(value: object, *, compact: bool = False) -> None:
    """One JSON document on standard output; a compact one is one line, written at once."""
    sys.stdout.write(json.dumps(value, default=_jsonable, indent=None if compact else 2) + "\n")
    if compact:
        sys.stdout.flush()


def print_rows(rows: Sequence[dict[str, Any]], *, as_json: bool, empty: str) -> None:
    """A list: as JSON, or as a table for people; `empty` says what to do when there is nothing."""
    if as_json:
        print_json(list(rows))
        return
    if not rows:
        say(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(table)


def _jsonable(value: object) -> str:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S UTC")
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    return "" if value is None else str(value)
