"""A report in the terminal: verdicts, warnings, grouped metrics, and sparklines of the scores."""

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from predictd.domain.text import replace_unprintable
from predictd.reports.numbers import format_number
from predictd.reports.report import Floats, Model, Report, available_groups, missing_labels
from predictd.scoring.metrics import Comparison, Difference
from predictd.scoring.metrics.series import LABELS

_BLOCKS = "▁▂▃▄▅▆▇█"
_NO_VALUE = "·"
_NAME_WIDTH = 28
_WIDE_ENOUGH = 100
_MAX_MODELS_WITH_DEFINITIONS = 3


def print_report(report: Report, console: Console) -> None:
    """Print the whole report at the width of the console. Names of models can't control the terminal."""
    _warnings(report, console)
    for comparison in report.comparisons:
        print_comparison(comparison, console)
    _metrics(report, console)
    for score in ("corr", "mmc"):
        _sparklines(report, score, console)


def print_differences(report: Report, console: Console) -> None:
    """Print the verdicts with their differences."""
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
        for title in ("difference", "95% confidence"):
            table.add_column(title, justify="right", no_wrap=True)
        for difference in comparison.differences:
            table.add_row(*_difference(difference), style=None if difference.is_significant else "dim")
        table.columns[0].header = ""
        console.print(table)
    console.print()


def safe(text: str) -> str:
    """Return the text without characters that control a terminal."""
    return replace_unprintable(text)


def _warnings(report: Report, console: Console) -> None:
    for model in report.models:
        reason = model.diagnostics.suspicion
        if reason is not None:
            line = Text.assemble(("warning: ", "bold yellow"), (safe(model.name), "bold"), " was probably trained ")
            console.print(line.append("on the validation data (trainedOnVal). ").append(reason), soft_wrap=True)
            console.print()


def _metrics(report: Report, console: Console) -> None:
    has_room = console.width >= _WIDE_ENOUGH and len(report.models) <= _MAX_MODELS_WITH_DEFINITIONS
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for model in report.models:
        table.add_column(_name(model.name), justify="right", overflow="fold")
    if has_room:
        table.add_column("", style="dim", ratio=1)
    for group in available_groups(report.models):
        table.add_row(Text(group.title, style="bold cyan"))
        for metric in group.metrics:
            cells = [metric.format(model.diagnostics) for model in report.models]
            table.add_row(f"  {metric.label}", *cells, *([metric.definition] if has_room else []))
    console.print(table)
    absent = missing_labels(report.models)
    if absent:
        console.print(Text(f"Not available for this data: {', '.join(absent)}.", style="dim"))
    console.print()


def _sparklines(report: Report, score: str, console: Console) -> None:
    series = [(model, model.scores(score, report.eras)) for model in report.models]
    series_with_values = [(model, values) for model, values in series if not np.isnan(values).all()]
    if not series_with_values:
        return
    console.print(Text(f"{LABELS[score]}, {_span(report.eras)}", style="bold cyan"))
    table = Table(box=None, pad_edge=False, show_header=False)
    for model, values in series_with_values:
        for title, line in (
            ("each era", values),
            ("cumulative", np.where(np.isnan(values), np.nan, np.nancumsum(values))),
        ):
            table.add_row(*_sparkline(model, title, line, console.width))
    console.print(table)
    console.print()


def _sparkline(model: Model, title: str, values: Floats, width: int) -> list[Text]:
    room = max(10, min(80, width - _NAME_WIDTH - 34))
    low, high = (format_number(float(bound), 3) for bound in (np.nanmin(values), np.nanmax(values)))
    return [Text(f"  {_name(model.name)}"), Text(title), Text(sparkline(values, room)), Text(f"{low} to {high}", "dim")]


def _difference(difference: Difference) -> list[str]:
    digits = 4 if difference.statistic == "mean" else 2
    between = "too few eras"
    if difference.low is not None and difference.high is not None:
        low, high = (format_number(bound, digits, signed=True) for bound in (difference.low, difference.high))
        between = f"{low} to {high}"
    label = f"  {LABELS[difference.metric]} {'mean' if difference.statistic == 'mean' else 'Sharpe'}"
    metrics = [
        format_number(difference.base, digits),
        format_number(difference.other, digits),
        format_number(difference.value, digits, signed=True),
    ]
    return [label, *metrics, between + (" *" if difference.is_significant else "")]


def _name(name: str) -> Text:
    shorter = name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 1] + "…"
    return Text(safe(shorter))


def _span(eras: tuple[str, ...]) -> str:
    if len(eras) == 1:
        return f"era {safe(eras[0])}"
    return f"{len(eras)} eras, {safe(eras[0])} to {safe(eras[-1])}"


def sparkline(values: Floats, width: int = 60, *, low: float | None = None, high: float | None = None) -> str:
    """Return a character per value, scaled from `low` to `high` (default: of all values), or a dot for no value.

    More than `width` values are grouped, and each character shows the mean of its group.
    """
    if not len(values):
        return ""
    parts = [part[~np.isnan(part)] for part in np.array_split(values, min(width, len(values)))]
    means = [float(part.mean()) if len(part) else None for part in parts]
    present = [mean for mean in means if mean is not None]
    if not present:
        return _NO_VALUE * len(parts)
    low = min(present) if low is None else low
    high = max(present) if high is None else high
    return "".join(_NO_VALUE if mean is None else _block(mean, low, high) for mean in means)


def _block(value: float, low: float, high: float) -> str:
    if not high > low:
        return _BLOCKS[len(_BLOCKS) // 2]
    share = (value - low) / (high - low)
    return _BLOCKS[min(max(int(share * len(_BLOCKS)), 0), len(_BLOCKS) - 1)]
