"""A histogram of predictions in twenty bins from 0 to 1."""

import numpy as np

from predictd.reports.markup import Markup, element
from predictd.reports.numbers import format_number
from predictd.reports.report import Floats

_BINS = 20
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 200, 48, 24, 10


def histogram(values: Floats) -> Markup:
    """Return the figure of values in 0 to 1, shape (n,); empty without values. It needs `assets/report.css`."""
    if not len(values):
        return Markup("")
    counts, edges = np.histogram(values, bins=_BINS, range=(0.0, 1.0))
    max_count = int(counts.max())
    low, high, mean, deviation = (
        format_number(float(number), 4) for number in (values.min(), values.max(), values.mean(), values.std())
    )
    summary = f"{len(values)} predictions from {low} to {high}, mean {mean}, standard deviation {deviation}."
    caption = element("figcaption", element("h3", "Predictions"), element("p", summary, class_="note"))
    table = element(
        "table",
        element("thead", element("tr", element("th", "from", scope="col"), element("th", "count", scope="col"))),
        element(
            "tbody",
            *(
                element("tr", element("th", f"{edge:.2f}", scope="row"), element("td", str(count)))
                for edge, count in zip(edges[:-1], counts, strict=True)
            ),
        ),
        class_="values",
    )
    region = element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Counts of predictions")
    details = element("details", element("summary", "Values as a table"), region)
    return element("figure", caption, _svg(counts.tolist(), max_count, summary), details, class_="chart series-0")


def _svg(counts: list[int], max_count: int, summary: str) -> Markup:
    base = _HEIGHT - _BOTTOM
    step = (_WIDTH - _LEFT - 4) / _BINS
    room = base - _TOP
    bars = (
        element(
            "rect",
            x=_LEFT + number * step + 1,
            y=base - room * count / max_count,
            width=step - 2,
            height=room * count / max_count,
            class_="bars",
        )
        for number, count in enumerate(counts)
        if count
    )
    marks = (
        element("text", f"{part:g}", x=_LEFT + part * step * _BINS, y=_HEIGHT - 6, class_="tick at-middle")
        for part in (0, 0.25, 0.5, 0.75)
    )
    last = element("text", "1", x=_WIDTH - 4, y=_HEIGHT - 6, class_="tick at-left")
    return element(
        "svg",
        element("path", d=f"M{_LEFT} {_TOP}H{_WIDTH - 4}", class_="grid"),
        *bars,
        element("path", d=f"M{_LEFT} {base}H{_WIDTH - 4}", class_="zero"),
        element("text", str(max_count), x=_LEFT - 6, y=_TOP + 4, class_="tick at-left"),
        element("text", "0", x=_LEFT - 6, y=base + 4, class_="tick at-left"),
        *marks,
        last,
        class_="plot histogram",
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"Histogram: {summary} The table below has the counts.",
    )
