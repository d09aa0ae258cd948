"""A list of findings for a person: pass, warn or fail, and what to do."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from predictd.domain.findings import Finding, Level

_STYLES = {Level.PASS: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def print_findings(findings: Sequence[Finding]) -> None:
    """Print them as a table on standard output."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for one in findings:
        words = Text(_safe(one.sentence))
        if one.level is Level.FAIL:
            words.append(f" ({one.code})", style="dim")
        if one.fix:
            words.append(f"\n{_safe(one.fix)}", style="dim" if one.level is Level.PASS else "cyan")
        table.add_row(Text(one.level.value, style=_STYLES[one.level]), Text(one.topic), words)
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(table)


def _safe(text: str) -> str:
    """What a model wrote may hold anything."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
