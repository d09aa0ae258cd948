"""What commands print: data to standard output, messages to standard error."""

import json
import shutil
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
from predictd.domain.findings import Finding, Level
from predictd.domain.terminal import TerminalLines, printable

_CLEAR_LINE = "\r\x1b[K"
_LEVEL_STYLES = {Level.PASS: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


class SafeConsole(Console):
    """A console for untrusted text of servers, models and other accounts: no escape sequences, no markup.

    Only `Text` sets styles, so that untrusted text can't color, link or erase anything.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of the renderable, without control sequences in their texts."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))


console = SafeConsole(stderr=True)


def output_console(width: int | None = None) -> Console:
    """Return a console on standard output; `width` (in columns) applies if that is not a terminal."""
    return SafeConsole(width=None if sys.stdout.isatty() else width)


def say(line: str) -> None:
    """Print a message on standard error."""
    console.print(line, soft_wrap=True)


def echo(text: str) -> None:
    """Print a line of data on standard output and flush it."""
    sys.stdout.write(plain(text) + "\n")
    sys.stdout.flush()


def fail(error: PredictdError) -> None:
    """Print an error on standard error."""
    console.print(Text("error: ", style="bold red"), end="")
    console.print(error.message, soft_wrap=True)


def exit_with(error: PredictdError, *, as_json: bool) -> typer.Exit:
    """Print an error, with `as_json` also as JSON; return the exception, with exit code 1, for the caller to raise."""
    fail(error)
    if as_json:
        print_json({"ok": False, "code": error.code, "message": error.message})
    return typer.Exit(1)


def plain(text: str, allowed: str = "\n\t") -> str:
    """Return the text without control sequences of terminals, and without control characters except `allowed`."""
    return printable(text, allowed)


def print_json(value: object, *, compact: bool = False) -> None:
    """Print a JSON document on standard output; `compact` prints one line and flushes it."""
    sys.stdout.write(json.dumps(value, default=_jsonable, indent=None if compact else 2) + "\n")
    if compact:
        sys.stdout.flush()


def print_rows(rows: Sequence[dict[str, Any]], *, as_json: bool, empty: str) -> None:
    """Print a list as JSON or as a table; `empty` is the message for an empty list."""
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


def print_findings(findings: Sequence[Finding]) -> None:
    """Print findings as a table on standard output: level, topic, sentence and fix."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        text = Text(plain(finding.sentence, allowed=""))
        if finding.level is Level.FAIL:
            text.append(f" ({finding.code})", style="dim")
        if finding.fix:
            text.append(f"\n{plain(finding.fix, allowed='')}", style="dim" if finding.level is Level.PASS else "cyan")
        table.add_row(Text(finding.level.value, style=_LEVEL_STYLES[finding.level]), Text(finding.topic), text)
    output_console(120).print(table)


class ModelLog:
    """Prints a model's output on standard error line by line; on a terminal also the line in progress."""

    def __init__(self) -> None:
        self._lines = TerminalLines()
        self._is_terminal = sys.stderr.isatty()

    def write(self, chunk: bytes) -> None:
        """Print the next bytes."""
        self._show(self._lines.feed(chunk), self._lines.current)

    def close(self) -> None:
        """Print the rest and end the line."""
        self._show(self._lines.close(), "")

    def _show(self, lines: list[str], current: str) -> None:
        text = "".join(f"{plain(line)}\n" for line in lines)
        if self._is_terminal:
            # A longer line would wrap, and could not be overwritten.
            width = shutil.get_terminal_size().columns - 1
            text = f"{_CLEAR_LINE}{text}{plain(current)[:width]}"
        sys.stderr.write(text)
        sys.stderr.flush()


def _jsonable(value: object) -> str:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S UTC")
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return "" if value is None else str(value)
