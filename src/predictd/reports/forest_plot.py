"""The chart of a comparison: each difference as a dot, its interval as a bar across it."""

from collections.abc import Callable, Sequence

from predictd.reports.markup import Markup, coordinate, element, joined
from predictd.reports.numbers import shown, tick_digits, ticks, widened
from predictd.reports.plots import SIZES, Size
from predictd.scoring.metrics import Comparison, Difference
from predictd.scoring.metrics.series import LABELS

_ROW = 26
_LEFT = 108
_TITLES = {"mean": "Difference of the means", "sharpe": "Difference of the Sharpes"}


def difference_chart(comparison: Comparison) -> Markup:
    """The differences of a comparison with their intervals, means and Sharpes apart, and all of them as a table.

    A filled dot surely differs from 0. Empty where there are no intervals.
    """
    known = [one for one in comparison.differences if one.low is not None and one.metric != "feature_corr_max"]
    if not known:
        return Markup("")
    parts: list[Markup] = []
    for statistic, title in _TITLES.items():
        chosen = [one for one in known if one.statistic == statistic]
        if chosen:
            parts.append(element("p", title, class_="panel"))
            parts += [_svg(size, chosen, f"{title}, {comparison.other} minus {comparison.base}") for size in SIZES]
    caption = element(
        "figcaption",
        element("h3", f"{comparison.other} minus {comparison.base}"),
        element(
            "p",
            "Bars hold the true difference with 95 % confidence. A filled dot surely differs from 0, a hollow one can "
            "be chance.",
            class_="note",
        ),
    )
    return element("figure", caption, *parts, class_="chart")


def difference_table(comparison: Comparison) -> Markup:
    """All differences of a comparison."""
    names = ("", comparison.base, comparison.other, "difference", "95 % confidence", "")
    head = element("tr", *(element("th", name, scope="col") if name else element("td") for name in names))
    rows = (
        element(
            "tr",
            element("th", _label(one), scope="row"),
            *(element("td", text) for text in _cells(one)),
            class_="sure" if one.is_sure else None,
        )
        for one in comparison.differences
    )
    table = element("table", element("thead", head), element("tbody", *rows), class_="values")
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label="All differences")


def _cells(one: Difference) -> list[str]:
    digits = 4 if one.statistic == "mean" else 2
    low, high = (shown(end, digits, signed=True) for end in (one.low, one.high))
    return [
        shown(one.base, digits),
        shown(one.other, digits),
        shown(one.value, digits, signed=True),
        "too few eras" if one.low is None else f"{low} to {high}",
        "" if one.low is None else "sure" if one.is_sure else "can be chance",
    ]


def _label(one: Difference) -> str:
    name = LABELS[one.metric]
    return f"{name[0].upper()}{name[1:]} {'mean' if one.statistic == 'mean' else 'Sharpe'}"


def _svg(size: Size, differences: Sequence[Difference], label: str) -> Markup:
    ends = [end for one in differences for end in (one.low, one.high, one.value) if end is not None]
    lowest, highest = widened(min(ends), max(ends))
    marks = ticks(lowest, highest, size.steps)
    digits = tick_digits(marks)
    right, bottom = size.width - 24.0, 8.0 + _ROW * len(differences)

    def x(value: float) -> float:
        return _LEFT + (value - lowest) / (highest - lowest) * (right - _LEFT)

    grid = "".join(f"M{coordinate(x(mark))} 4V{coordinate(bottom)}" for mark in marks)
    numbers = (
        element("text", shown(mark, digits), x=x(mark), y=bottom + 16, class_="tick at-middle") for mark in marks
    )
    rows = (_row(one, x, 8 + _ROW * (number + 0.5)) for number, one in enumerate(differences))
    told = "; ".join(
        f"{LABELS[one.metric]} {shown(one.value, 4, signed=True)}, {_cells(one)[3]}" for one in differences
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
        aria_label=f"{label}: {told}.",
    )


def _row(one: Difference, x: Callable[[float], float], y: float) -> Markup:
    assert one.low is not None
    assert one.high is not None
    kind = "chance" if not one.is_sure else "more" if one.value > 0 else "less"
    low, high, middle = x(one.low), x(one.high), x(one.value)
    span = f"M{coordinate(low)} {y - 5:.1f}v10m0 -5H{coordinate(high)}m0 -5v10"
    return joined(
        element("text", LABELS[one.metric], x=_LEFT - 12, y=y + 4, class_="tick at-left"),
        element("path", d=span, class_=f"interval {kind}"),
        element("circle", cx=middle, cy=y, r="5", class_=f"estimate {kind}"),
    )
