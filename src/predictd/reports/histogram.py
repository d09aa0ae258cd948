"""Predictions as a histogram: how many lie in each twentieth of 0 to 1."""

import numpy as np

from predictd.reports.markup import Markup, element
from predictd.reports.numbers import shown
from predictd.reports.report import Floats

_BINS = 20
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 200, 48, 24, 10


def histogram(values: Floats) -> Markup:
    """The figure of values within 0 to 1, shape (n,); empty where there are none. It needs `assets/report.css`."""
    if not len(values):
        return Markup("")
    counts, edges = np.histogram(values, bins=_BINS, range=(0.0, 1.0))
    most = int(counts.max())
    told = f"{len(values)} predictions from {shown(float(values.min()), 4)} to {shown(float(values.max()), 4)}, mean "
    told += f"{shown(float(values.mean()), 4)}, standard deviation {shown(float(values.std()), 4)}."
    caption = element("figcaption", element("h3", "Predictions"), element("p", told, class_="note"))
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
    return element("figure", caption, _svg(counts.tolist(), most, told), details, class_="chart series-0")


def _svg(counts: list[int], most: int, told: str) -> Markup:
    base = _HEIGHT - _BOTTOM
    step = (_WIDTH - _LEFT - 4) / _BINS
    room = base - _TOP
    bars = (
        element(
            "rect",
            x=_LEFT + number * step + 1,
            y=base - room * count / most,
            width=step - 2,
            height=room * count / most,
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
        element("text", str(most), x=_LEFT - 6, y=_TOP + 4, class_="tick at-left"),
        element("text", "0", x=_LEFT - 6, y=base + 4, class_="tick at-left"),
        *marks,
        last,
        class_="plot histogram",
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"Histogram: {told} The table below has the counts.",
    )
