"""Draw charts over eras as SVG: axes, lines, areas and bars, with colors left to CSS classes.

A chart is drawn twice, wide and narrow, because text that is scaled down with its chart is unreadable on a phone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from predictd.reports.markup import Markup, coordinate, element, joined
from predictd.reports.numbers import format_number, tick_digits, ticks, widened
from predictd.reports.report import Floats

COLORS = 6
_CHARACTER = 6.8
_DOTS = 40


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of a chart in its own units, about a pixel each."""

    name: str
    width: int
    height: int
    eras: int
    steps: int


WIDE = Size(name="wide", width=880, height=280, eras=9, steps=7)
NARROW = Size(name="narrow", width=380, height=230, eras=4, steps=6)
SIZES = (WIDE, NARROW)
LOW_SIZES = (replace(WIDE, height=170, steps=4), replace(NARROW, height=150, steps=4))
"""For several charts below each other."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A series of a chart: its name in the legend, its values in each era (NaN: none), and its color index."""

    label: str
    values: Floats
    color: int = 0

    @property
    def style(self) -> str:
        """Its CSS classes; the colors repeat with dashes."""
        dashes = min(self.color // COLORS, 3)
        return f"series-{self.color % COLORS}" + (f" dash-{dashes}" if dashes else "")


class Plot:
    """One chart in one size, with eras on the x axis."""

    def __init__(self, size: Size, eras: Sequence[str], low: float, high: float) -> None:
        """Create a plot whose y axis contains `low`, `high` and 0."""
        self._size = size
        self._eras = eras
        self._low, self._high = widened(low, high)
        self._marks = ticks(self._low, self._high, size.steps)
        self._digits = tick_digits(self._marks)
        longest = max(len(format_number(mark, self._digits)) for mark in self._marks)
        self._left, self._right = 14 + longest * _CHARACTER, float(size.width - 8)
        self._top, self._bottom = 10.0, float(size.height - 26)
        self.step = (self._right - self._left) / max(len(eras), 1)
        self._parts: list[Markup] = []

    def x(self, number: float) -> float:
        """Return the middle of an era."""
        return self._left + (number + 0.5) * self.step

    def y(self, value: float) -> float:
        """Return the height of a value."""
        return self._bottom - (value - self._low) / (self._high - self._low) * (self._bottom - self._top)

    def gaps(self, lines: Sequence[Line]) -> None:
        """Shade eras in which no line has a value."""
        lacking = np.asarray(np.isnan(np.stack([line.values for line in lines])).all(axis=0))
        path = "".join(
            f"M{coordinate(self.x(first - 0.5))} {coordinate(self._top)}H{coordinate(self.x(end - 0.5))}"
            f"V{coordinate(self._bottom)}H{coordinate(self.x(first - 0.5))}z"
            for first, end in _runs(lacking)
        )
        if path:
            self._parts.append(element("path", d=path, class_="gap"))

    def line(self, line: Line) -> None:
        """Draw a line, interrupted where there are no values, with dots if eras are few or isolated."""
        runs = _runs(~np.isnan(line.values))
        path = "".join(self._path(line.values, first, end) for first, end in runs if end - first > 1)
        if path:
            self._parts.append(element("path", d=path, class_=f"line {line.style}"))
        few = len(self._eras) <= _DOTS
        for first, end in runs:
            for number in range(first, end) if few or end - first == 1 else ():
                self._parts.append(self._dot(number, line))

    def area(self, line: Line) -> None:
        """Fill the area between the line and 0."""
        path = "".join(
            f"{self._path(line.values, first, end)}V{coordinate(self.y(0))}H{coordinate(self.x(first))}z"
            for first, end in _runs(~np.isnan(line.values))
            if end - first > 1
        )
        if path:
            self._parts.append(element("path", d=path, class_=f"area {line.style}"))

    def bars(self, line: Line) -> None:
        """Draw a bar for each era, from 0."""
        width = min(self.step * (0.76 if self.step > 4 else 1.0), 44.0)
        zero = coordinate(self.y(0))
        path = "".join(
            f"M{coordinate(self.x(number) - width / 2)} {zero}V{self.y(value):.1f}h{width:.2f}V{zero}z"
            for number, value in enumerate(line.values)
            if not np.isnan(value)
        )
        if path:
            self._parts.append(element("path", d=path, class_=f"bars {line.style}"))

    def svg(self, label: str) -> Markup:
        """Return the chart, with `label` as its description for screen readers."""
        cursor = element("line", class_="cursor", x1=0, x2=0, y1=self._top, y2=self._bottom, visibility="hidden")
        return element(
            "svg",
            self._grid(),
            *self._parts,
            self._zero(),
            self._names(),
            cursor,
            class_=f"plot {self._size.name}",
            viewBox=f"0 0 {self._size.width} {self._size.height}",
            role="img",
            aria_label=label,
            tabindex="0",
            data_left=f"{self._left:.2f}",
            data_step=f"{self.step:.4f}",
        )

    def _path(self, values: Floats, first: int, end: int) -> str:
        points = (f"{coordinate(self.x(number))} {coordinate(self.y(values[number]))}" for number in range(first, end))
        return "M" + "L".join(points)

    def _dot(self, number: int, line: Line) -> Markup:
        return element(
            "circle", cx=self.x(number), cy=self.y(float(line.values[number])), r="3", class_=f"dot {line.style}"
        )

    def _grid(self) -> Markup:
        lines = "".join(
            f"M{coordinate(self._left)} {coordinate(self.y(mark))}H{coordinate(self._right)}" for mark in self._marks
        )
        texts = (
            element(
                "text", format_number(mark, self._digits), x=self._left - 7, y=self.y(mark) + 4, class_="tick at-left"
            )
            for mark in self._marks
        )
        return joined(element("path", d=lines, class_="grid"), *texts)

    def _zero(self) -> Markup:
        return element("line", x1=self._left, x2=self._right, y1=self.y(0), y2=self.y(0), class_="zero")

    def _names(self) -> Markup:
        """Return the names of some eras, as many as fit."""
        names = [name if len(name) <= 12 else name[:11] + "…" for name in self._eras]
        if not names:
            return joined()
        widest = max(len(name) for name in names) * _CHARACTER + 16
        fitting = max(1, min(self._size.eras, int((self._right - self._left) / widest)))
        stride = -(-(len(names) - 1) // max(fitting - 1, 1)) or 1
        return joined(*(self._name(number, names[number]) for number in range(0, len(names), stride)))

    def _name(self, number: int, name: str) -> Markup:
        half = len(name) * _CHARACTER / 2
        x = min(max(self.x(number), self._left + half - 10), self._right - half + 6)
        return element("text", name, x=x, y=self._bottom + 18, class_="tick at-middle")


def _runs(present: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the first index of each run of true values and the index after its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]])))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]
