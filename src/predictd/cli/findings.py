"""A list of findings for a person: pass, warn or fail, and what to do."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from predictd.cli.output import output_console, plain
from predictd.domain.findings import Finding, Level

_STYLES = {Level.PASS: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def print_findings(findings: Sequence[Finding]) -> None:
    """Print them as a table on standard output."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for one in findings:
        words = Text(plain(one.sentence, kept=""))
        if one.level is Level.FAIL:
            words.append(f" ({one.code})", style="dim")
        if one.fix:
            words.append(f"\n{plain(one.fix, kept='')}", style="dim" if one.level is Level.PASS else "cyan")
        table.add_row(Text(one.level.value, style=_STYLES[one.level]), Text(one.topic), words)
    output_console(120).print(table)
