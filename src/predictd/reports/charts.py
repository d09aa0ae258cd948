"""The charts of diagnostics, each a `<figure>` for any page that has `assets/report.css`.

A figure has a legend, the chart for wide and for narrow screens, and its values as a table. It needs no script;
`assets/report.js` adds a reading of the values under the pointer. A chart without any value is an empty string.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from predictd.reports.markup import Markup, element
from predictd.reports.numbers import shown
from predictd.reports.plots import LOW_SIZES, SIZES, Line, Plot, Size
from predictd.reports.report import Floats, Model, eras_of
from predictd.scoring.metrics.series import LABELS

_DIGITS = 4
_TOLD: dict[str, Callable[[Floats], float]] = {
    "in the end": lambda values: float(values[-1]),
    "mean": lambda values: float(values.mean()),
    "largest": lambda values: float(values[np.argmax(np.abs(values))]),
}
_READING = element("p", class_="reading", aria_live="polite")


def cumulative_chart(models: Sequence[Model], scores: Sequence[str] = ("corr",)) -> Markup:
    """The sum of a score over the eras so far, a line for each model and score; `scores` are keys of SERIES."""
    models = tuple(models)
    eras = eras_of(models)
    lines = [
        Line(label=_label(model, score, models, scores), values=_cumulated(model.scores(score, eras)), color=number)
        for number, (model, score) in enumerate((model, score) for model in models for score in scores)
    ]
    named = " and ".join(LABELS[score] for score in scores if _has(models, score, eras)) or LABELS[scores[0]]
    return _Figure(
        title=f"Cumulative {named}",
        note="The sum of the scores of all eras so far.",
        eras=eras,
        lines=tuple(lines),
    ).together()


def drawdown_chart(models: Sequence[Model]) -> Markup:
    """How far the sum of CORR lies below its highest so far, a chart for each model."""
    models = tuple(models)
    eras = eras_of(models)
    return _Figure(
        title="Drawdown of CORR",
        note="How far the sum of CORR lies below its highest so far.",
        eras=eras,
        lines=_lines(models, lambda model: _drawdown(model.scores("corr", eras))),
        told="largest",
        flat=-0.01,
    ).of_each(_filled)


def exposure_chart(models: Sequence[Model]) -> Markup:
    """The largest correlation of each era's predictions with a feature, a chart for each model."""
    models = tuple(models)
    eras = eras_of(models)
    return _Figure(
        title="Feature exposure",
        note="The largest correlation of the predictions with any feature, by size. The lower, the less the model "
        "depends on one feature.",
        eras=eras,
        lines=_lines(models, lambda model: model.scores("feature_corr_max", eras)),
        told="mean",
    ).of_each(_filled)


def era_chart(models: Sequence[Model], score: str = "corr") -> Markup:
    """A score of each era as bars, a chart for each model, all of the same scale; `score` is a key of SERIES."""
    models = tuple(models)
    eras = eras_of(models)
    return _Figure(
        title=f"{LABELS[score]} of each era",
        note="Shaded where there is no score.",
        eras=eras,
        lines=_lines(models, lambda model: model.scores(score, eras)),
        told="mean",
    ).of_each(Plot.bars)


@dataclass(frozen=True, kw_only=True)
class _Figure:
    """What the charts have in common: title, legend, table, and the range of all values.

    `told` says which value of a line the legend has, a key of _TOLD; `flat` what the axis goes down to if all is 0.
    """

    title: str
    note: str
    eras: tuple[str, ...]
    lines: tuple[Line, ...]
    told: str = "in the end"
    flat: float = 0.0

    def together(self) -> Markup:
        """All lines in one chart."""

        def draw(plot: Plot) -> None:
            for line in self._known:
                plot.line(line)

        legend = element("ul", *(element("li", *self._key(line)) for line in self._known), class_="legend")
        return self._whole(lambda: [legend, *self._charts(SIZES, self._known, draw)])

    def of_each(self, draw: Callable[[Plot, Line], None]) -> Markup:
        """A chart for each line, under its name, all of the same scale."""
        sizes = SIZES if len(self._known) == 1 else LOW_SIZES

        def parts() -> list[Markup]:
            found: list[Markup] = []
            for line in self._known:
                found.append(element("div", *self._key(line), class_="legend"))
                found += self._charts(sizes, (line,), partial(_drawn, draw, line))
            return found

        return self._whole(parts)

    @property
    def _known(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if not np.isnan(line.values).all())

    def _whole(self, parts: Callable[[], list[Markup]]) -> Markup:
        if not self._known:
            return Markup("")
        caption = element("figcaption", element("h3", self.title), element("p", self.note, class_="note"))
        return element("figure", caption, *parts(), _READING, self._table(), class_="chart")

    def _key(self, line: Line) -> tuple[Markup, ...]:
        value = _TOLD[self.told](line.values[~np.isnan(line.values)])
        end = element("span", f"{self.told} ", element("b", shown(float(value), _DIGITS)), class_="end")
        return _swatch(line), element("span", line.label, class_="name"), end

    def _charts(self, sizes: Sequence[Size], lines: Sequence[Line], draw: Callable[[Plot], None]) -> list[Markup]:
        return [self._svg(size, lines, draw) for size in sizes]

    def _svg(self, size: Size, lines: Sequence[Line], draw: Callable[[Plot], None]) -> Markup:
        values = np.concatenate([line.values for line in self._known])
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        plot = Plot(size, self.eras, low if low or high else self.flat, high)
        plot.gaps(lines)
        draw(plot)
        ends = "; ".join(f"{line.label}: {_range(line.values)}" for line in lines)
        over = f"{len(self.eras)} eras, {self.eras[0]} to {self.eras[-1]}" if len(self.eras) > 1 else self.eras[0]
        return plot.svg(f"Chart: {self.title}, {over}. {ends}. The table below has the values.")

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


def _lines(models: Sequence[Model], values: Callable[[Model], Floats]) -> tuple[Line, ...]:
    return tuple(Line(label=model.name, values=values(model), color=number) for number, model in enumerate(models))


def _drawn(draw: Callable[[Plot, Line], None], line: Line, plot: Plot) -> None:
    draw(plot, line)


def _filled(plot: Plot, line: Line) -> None:
    plot.area(line)
    plot.line(line)


def _swatch(line: Line) -> Markup:
    return element(
        "svg",
        element("path", d="M1 5H21", class_=f"line {line.style}"),
        class_="swatch",
        viewBox="0 0 22 10",
        aria_hidden="true",
    )


def _range(values: Floats) -> str:
    known = values[~np.isnan(values)]
    low, high, last = (shown(float(value), _DIGITS) for value in (known.min(), known.max(), known[-1]))
    return f"from {low} to {high}, {last} in the end"


def _has(models: Sequence[Model], score: str, eras: tuple[str, ...]) -> bool:
    return any(not np.isnan(model.scores(score, eras)).all() for model in models)


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
