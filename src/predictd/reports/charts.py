"""The charts of diagnostics, each a `<figure>` for any page that has `assets/report.css`.

A figure has a legend, the chart for wide and for narrow screens, and its values as a table. It needs no script;
`assets/report.js` adds a reading of the values under the pointer. A chart without any value is an empty string.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from predictd.reports.markup import Markup, element, joined
from predictd.reports.numbers import shown
from predictd.reports.plots import NARROW, WIDE, Line, Plot, Size
from predictd.reports.report import Floats, Model, eras_of
from predictd.scoring.metrics.series import LABELS

_DIGITS = 4
_LONGEST_LABEL = 40


def cumulative_chart(models: Sequence[Model], scores: Sequence[str] = ("corr",)) -> Markup:
    """The sum of a score over the eras so far, a line for each model and score; `scores` are keys of SERIES."""
    models = tuple(models)
    eras = eras_of(models)
    lines = [
        Line(label=_label(model, score, models, scores), values=_cumulated(model.scores(score, eras)), color=number)
        for number, (model, score) in enumerate((model, score) for model in models for score in scores)
    ]
    named = " and ".join(LABELS[score] for score in scores)
    return _Figure(
        title=f"Cumulative {named}",
        note="The sum of the scores of all eras so far.",
        eras=eras,
        lines=tuple(lines),
    ).of_lines()


def drawdown_chart(models: Sequence[Model]) -> Markup:
    """How far the sum of CORR lies below its highest so far."""
    models = tuple(models)
    eras = eras_of(models)
    lines = [
        Line(label=model.name, values=_drawdown(model.scores("corr", eras)), color=number)
        for number, model in enumerate(models)
    ]
    return _Figure(
        title="Drawdown of CORR",
        note="How far the sum of CORR lies below its highest so far.",
        eras=eras,
        lines=tuple(lines),
    ).of_lines(filled=len(models) == 1)


def exposure_chart(models: Sequence[Model]) -> Markup:
    """The largest correlation of each era's predictions with a feature."""
    models = tuple(models)
    eras = eras_of(models)
    lines = [
        Line(label=model.name, values=model.scores("feature_corr_max", eras), color=number)
        for number, model in enumerate(models)
    ]
    return _Figure(
        title="Feature exposure",
        note="The largest correlation of the predictions with any feature, by size. The lower, the less the model "
        "depends on one feature.",
        eras=eras,
        lines=tuple(lines),
    ).of_lines()


def era_chart(models: Sequence[Model], score: str = "corr") -> Markup:
    """A score of each era as bars, a chart for each model, all of the same scale; `score` is a key of SERIES."""
    models = tuple(models)
    eras = eras_of(models)
    lines = [
        Line(label=model.name, values=model.scores(score, eras), color=number) for number, model in enumerate(models)
    ]
    return _Figure(
        title=f"{LABELS[score]} of each era", note="Shaded where there is no score.", eras=eras, lines=tuple(lines)
    ).of_bars()


@dataclass(frozen=True, kw_only=True)
class _Figure:
    """What the charts have in common: title, legend, table, and the range of all values."""

    title: str
    note: str
    eras: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def _known(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if not np.isnan(line.values).all())

    @property
    def _range(self) -> tuple[float, float]:
        values = np.concatenate([line.values for line in self._known])
        return float(np.nanmin(values)), float(np.nanmax(values))

    def of_lines(self, *, filled: bool = False) -> Markup:
        """All lines in one chart."""

        def draw(plot: Plot) -> None:
            plot.gaps(self._known)
            for line in self._known:
                if filled:
                    plot.area(line)
                plot.line(line)

        return self._whole(lambda: [*self._sizes("Line chart", self._known, draw)])

    def of_bars(self) -> Markup:
        """A chart for each line, under its name where there are several."""

        def parts() -> list[Markup]:
            found: list[Markup] = []
            for line in self._known:
                if len(self.lines) > 1:
                    found.append(element("p", _swatch(line), line.label, class_="panel"))
                found += self._sizes("Bar chart", (line,), lambda plot, line=line: _bars(plot, line))  # type: ignore[misc]
            return found

        return self._whole(parts)

    def _whole(self, parts: Callable[[], list[Markup]]) -> Markup:
        if not self._known:
            return Markup("")
        heading = element("figcaption", element("h3", self.title), element("p", self.note, class_="note"))
        legend = element(
            "ul",
            *(
                element(
                    "li", _swatch(line), element("span", line.label), element("b", shown(line.last, _DIGITS)), class_="key"
                )
                for line in self._known
            ),
            class_="legend",
        )
        reading = element("p", class_="reading", aria_live="polite")
        return element("figure", heading, legend, reading, *parts(), self._table(), class_="chart")

    def _sizes(self, kind: str, lines: Sequence[Line], draw: Callable[[Plot], None]) -> list[Markup]:
        return [self._svg(size, kind, lines, draw) for size in (WIDE, NARROW)]

    def _svg(self, size: Size, kind: str, lines: Sequence[Line], draw: Callable[[Plot], None]) -> Markup:
        plot = Plot(size, self.eras, *self._range)
        draw(plot)
        ends = "; ".join(f"{line.label}: {_told(line.values)}" for line in lines)
        over = f"{len(self.eras)} eras, {self.eras[0]} to {self.eras[-1]}" if len(self.eras) > 1 else self.eras[0]
        return plot.svg(f"{kind}: {self.title}, {over}. {ends}. The table below has the values.")

    def _table(self) -> Markup:
        head = element(
            "tr",
            element("th", "era", scope="col"),
            *(element("th", line.label, scope="col") for line in self._known),
        )
        rows = (
            element(
                "tr",
                element("th", era, scope="row"),
                *(element("td", shown(float(line.values[number]), _DIGITS)) for line in self._known),
            )
            for number, era in enumerate(self.eras)
        )
        table = element("table", element("thead", head), element("tbody", *rows), class_="values")
        return element(
            "details",
            element("summary", "Values as a table"),
            element("div", table, class_="scroll", tabindex="0", role="region", aria_label=f"Values of {self.title}"),
        )


def _bars(plot: Plot, line: Line) -> None:
    plot.gaps((line,))
    plot.bars(line)


def _swatch(line: Line) -> Markup:
    return element(
        "svg",
        element("path", d="M1 5H21", class_=f"line {line.style}"),
        class_="swatch",
        viewBox="0 0 22 10",
        aria_hidden="true",
    )


def _told(values: Floats) -> str:
    known = values[~np.isnan(values)]
    low, high, last = (shown(float(value), _DIGITS) for value in (known.min(), known.max(), known[-1]))
    return f"from {low} to {high}, {last} in the end"


def _label(model: Model, score: str, models: Sequence[Model], scores: Sequence[str]) -> str:
    if len(models) == 1:
        return LABELS[score]
    return model.name if len(scores) == 1 else f"{model.name}, {LABELS[score]}"


def _cumulated(scores: Floats) -> Floats:
    """The sums so far; none where there is no score."""
    return np.where(np.isnan(scores), np.nan, np.nancumsum(scores))


def _drawdown(scores: Floats) -> Floats:
    sums = _cumulated(scores)
    highest = np.fmax.accumulate(sums) if len(sums) else sums
    return sums - highest
