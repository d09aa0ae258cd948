"""A report in the terminal: verdicts, warnings, the figures in groups, and sparklines of the scores."""

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from predictd.domain.text import replace_unprintable
from predictd.reports.metric_catalog import known_groups, lacking
from predictd.reports.numbers import shown
from predictd.reports.report import Model, Report
from predictd.reports.sparklines import sparkline
from predictd.scoring.metrics import Comparison, Difference
from predictd.scoring.metrics.series import LABELS

_NAME_WIDTH = 28
_WIDE_ENOUGH = 100
_MOST_MODELS_BESIDE_DEFINITIONS = 3


def print_report(report: Report, console: Console) -> None:
    """Print all of it, as wide as the console is. Names of models can't steer the terminal."""
    _warnings(report, console)
    for comparison in report.comparisons:
        print_comparison(comparison, console)
    _figures(report, console)
    for score in ("corr", "mmc"):
        _sparklines(report, score, console)


def print_differences(report: Report, console: Console) -> None:
    """Print the verdicts and what they rest on."""
    for comparison in report.comparisons:
        print_comparison(comparison, console)
    _warnings(report, console)


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the verdict and all differences."""
    console.print(Text(safe(comparison.verdict), style="bold"))
    if comparison.differences:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("difference")
        for name in (comparison.base, comparison.other):
            table.add_column(_name(name), justify="right")
        for title in ("difference", "95 % confidence"):
            table.add_column(title, justify="right", no_wrap=True)
        for one in comparison.differences:
            table.add_row(*_difference(one), style=None if one.is_sure else "dim")
        table.columns[0].header = ""
        console.print(table)
    console.print()


def safe(text: str) -> str:
    """The text without characters that would steer a terminal."""
    return replace_unprintable(text)


def _warnings(report: Report, console: Console) -> None:
    for model in report.models:
        reason = model.diagnostics.suspicion
        if reason is not None:
            line = Text.assemble(
                ("warning: ", "bold yellow"), (safe(model.name), "bold"), " seems to have been trained "
            )
            console.print(line.append("on the validation data (trainedOnVal). ").append(reason), soft_wrap=True)
            console.print()


def _figures(report: Report, console: Console) -> None:
    has_room = console.width >= _WIDE_ENOUGH and len(report.models) <= _MOST_MODELS_BESIDE_DEFINITIONS
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for model in report.models:
        table.add_column(_name(model.name), justify="right", overflow="fold")
    if has_room:
        table.add_column("", style="dim", ratio=1)
    for group in known_groups(report.models):
        table.add_row(Text(group.title, style="bold cyan"))
        for figure in group.figures:
            cells = [figure.shown(model.diagnostics) for model in report.models]
            table.add_row(f"  {figure.label}", *cells, *([figure.definition] if has_room else []))
    console.print(table)
    absent = lacking(report.models)
    if absent:
        console.print(Text(f"Not to be had from these data: {', '.join(absent)}.", style="dim"))
    console.print()


def _sparklines(report: Report, score: str, console: Console) -> None:
    series = [(model, model.scores(score, report.eras)) for model in report.models]
    known = [(model, values) for model, values in series if not np.isnan(values).all()]
    if not known:
        return
    console.print(Text(f"{LABELS[score]}, {_span(report.eras)}", style="bold cyan"))
    table = Table(box=None, pad_edge=False, show_header=False)
    for model, values in known:
        for title, line in (
            ("each era", values),
            ("cumulative", np.where(np.isnan(values), np.nan, np.nancumsum(values))),
        ):
            table.add_row(*_sparkline(model, title, line, console.width))
    console.print(table)
    console.print()


def _sparkline(
    model: Model, title: str, values: np.ndarray[tuple[int], np.dtype[np.float64]], width: int
) -> list[Text]:
    room = max(10, min(80, width - _NAME_WIDTH - 34))
    low, high = (shown(float(found), 3) for found in (np.nanmin(values), np.nanmax(values)))
    return [Text(f"  {_name(model.name)}"), Text(title), Text(sparkline(values, room)), Text(f"{low} to {high}", "dim")]


def _difference(one: Difference) -> list[str]:
    digits = 4 if one.statistic == "mean" else 2
    between = "too few eras"
    if one.low is not None and one.high is not None:
        between = f"{shown(one.low, digits, signed=True)} to {shown(one.high, digits, signed=True)}"
    label = f"  {LABELS[one.metric]} {'mean' if one.statistic == 'mean' else 'Sharpe'}"
    figures = [shown(one.base, digits), shown(one.other, digits), shown(one.value, digits, signed=True)]
    return [label, *figures, between + (" *" if one.is_sure else "")]


def _name(name: str) -> Text:
    shorter = name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 1] + "…"
    return Text(safe(shorter))


def _span(eras: tuple[str, ...]) -> str:
    if len(eras) == 1:
        return f"era {safe(eras[0])}"
    return f"{len(eras)} eras, {safe(eras[0])} to {safe(eras[-1])}"
