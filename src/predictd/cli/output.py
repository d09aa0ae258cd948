"""What commands print: data to standard output, everything else to standard error."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from predictd.domain.errors import PredictdError
from predictd.domain.terminal import printable


class SafeConsole(Console):
    """A console that prints texts of servers, models and other accounts as they are: no escape sequences, no markup.

    Styles come from `Text` alone, so that no text can color, link, erase or rename anything.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of the renderable, their texts without what would steer the terminal."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))


console = SafeConsole(stderr=True)


def output_console(width: int | None = None) -> Console:
    """Return a console on standard output, which has that width (in columns) where it is no terminal."""
    return SafeConsole(width=None if sys.stdout.isatty() else width)


def say(line: str) -> None:
    """A line for people, on standard error."""
    console.print(line, soft_wrap=True)


def echo(text: str) -> None:
    """Print a line of data for people on standard output, at once."""
    sys.stdout.write(plain(text) + "\n")
    sys.stdout.flush()


def fail(error: PredictdError) -> None:
    """An error for people, on standard error."""
    console.print(Text("error: ", style="bold red"), end="")
    console.print(error.message, soft_wrap=True)


def refused(error: PredictdError, *, as_json: bool) -> typer.Exit:
    """Tell an error, also as JSON if that is wanted; to be raised: it ends the command with 1."""
    fail(error)
    if as_json:
        print_json({"ok": False, "code": error.code, "message": error.message})
    return typer.Exit(1)


def plain(text: str, kept: str = "\n\t") -> str:
    """Return the text without what would steer a terminal; control characters in `kept` stay."""
    return printable(text, kept)


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
        table.add_row(*(plain(_shown(value)) for value in row.values()))
    output_console(200).print(table)


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
