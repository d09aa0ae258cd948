"""The chart of a comparison: each difference as a dot, with its interval as a bar."""

from collections.abc import Callable, Sequence

from predictd.reports.markup import Markup, coordinate, element, joined
from predictd.reports.numbers import format_number, tick_digits, ticks, widened
from predictd.reports.plots import SIZES, Size
from predictd.scoring.metrics import Comparison, Difference
from predictd.scoring.metrics.series import LABELS

_ROW = 26
_LEFT = 108
_TITLES = {"mean": "Difference of the means", "sharpe": "Difference of the Sharpes"}


def difference_chart(comparison: Comparison) -> Markup:
    """Return the differences of a comparison with their intervals, means and Sharpes in separate charts.

    A filled dot is significant. Empty if there are no intervals.
    """
    differences = [
        difference
        for difference in comparison.differences
        if difference.low is not None and difference.metric != "feature_corr_max"
    ]
    if not differences:
        return Markup("")
    parts: list[Markup] = []
    for statistic, title in _TITLES.items():
        selected = [difference for difference in differences if difference.statistic == statistic]
        if selected:
            parts.append(element("p", title, class_="panel"))
            parts += [_svg(size, selected, f"{title}, {comparison.other} minus {comparison.base}") for size in SIZES]
    caption = element(
        "figcaption",
        element("h3", f"{comparison.other} minus {comparison.base}"),
        element(
            "p",
            "Bars are 95% confidence intervals. A filled dot is a significant difference, a hollow dot may be chance.",
            class_="note",
        ),
    )
    return element("figure", caption, *parts, class_="chart")


def difference_table(comparison: Comparison) -> Markup:
    """Return a table of all differences of a comparison."""
    names = ("", comparison.base, comparison.other, "difference", "95% confidence", "")
    head = element("tr", *(element("th", name, scope="col") if name else element("td") for name in names))
    rows = (
        element(
            "tr",
            element("th", _label(difference), scope="row"),
            *(element("td", text) for text in _cells(difference)),
            class_="sure" if difference.is_significant else None,
        )
        for difference in comparison.differences
    )
    table = element("table", element("thead", head), element("tbody", *rows), class_="values")
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label="All differences")


def _cells(difference: Difference) -> list[str]:
    digits = 4 if difference.statistic == "mean" else 2
    low, high = (format_number(end, digits, signed=True) for end in (difference.low, difference.high))
    return [
        format_number(difference.base, digits),
        format_number(difference.other, digits),
        format_number(difference.value, digits, signed=True),
        "too few eras" if difference.low is None else f"{low} to {high}",
        "" if difference.low is None else "significant" if difference.is_significant else "may be chance",
    ]


def _label(difference: Difference) -> str:
    name = LABELS[difference.metric]
    return f"{name[0].upper()}{name[1:]} {'mean' if difference.statistic == 'mean' else 'Sharpe'}"


def _svg(size: Size, differences: Sequence[Difference], label: str) -> Markup:
    ends = [
        end
        for difference in differences
        for end in (difference.low, difference.high, difference.value)
        if end is not None
    ]
    lowest, highest = widened(min(ends), max(ends))
    marks = ticks(lowest, highest, size.steps)
    digits = tick_digits(marks)
    right, bottom = size.width - 24.0, 8.0 + _ROW * len(differences)

    def x(value: float) -> float:
        return _LEFT + (value - lowest) / (highest - lowest) * (right - _LEFT)

    grid = "".join(f"M{coordinate(x(mark))} 4V{coordinate(bottom)}" for mark in marks)
    numbers = (
        element("text", format_number(mark, digits), x=x(mark), y=bottom + 16, class_="tick at-middle")
        for mark in marks
    )
    rows = (_row(difference, x, 8 + _ROW * (number + 0.5)) for number, difference in enumerate(differences))
    summary = "; ".join(
        f"{LABELS[difference.metric]} {format_number(difference.value, 4, signed=True)}, {_cells(difference)[3]}"
        for difference in differences
    )
    return element(
        "svg",
        element("path", d=grid, class_="grid"),
        element("line", x1=x(0), x2=x(0), y1=4, y2=bottom, class_="zero"),
        *rows,
        *numbers,
        class_=f"plot {size.name}",
        viewBox=f"0 0 {size.width} {coordinate(bottom + 26)}",
        role="img",
        aria_label=f"{label}: {summary}.",
    )


def _row(difference: Difference, x: Callable[[float], float], y: float) -> Markup:
    assert difference.low is not None
    assert difference.high is not None
    kind = "chance" if not difference.is_significant else "more" if difference.value > 0 else "less"
    low, high, middle = x(difference.low), x(difference.high), x(difference.value)
    span = f"M{coordinate(low)} {y - 5:.1f}v10m0 -5H{coordinate(high)}m0 -5v10"
    return joined(
        element("text", LABELS[difference.metric], x=_LEFT - 12, y=y + 4, class_="tick at-left"),
        element("path", d=span, class_=f"interval {kind}"),
        element("circle", cx=middle, cy=y, r="5", class_=f"estimate {kind}"),
    )
