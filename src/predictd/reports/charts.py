"""The charts of diagnostics, each a `<figure>` for any page that includes `assets/report.css`.

A figure has a legend, the chart for wide and narrow screens, and its values as a table. It needs no script;
`assets/report.js` shows the values under the pointer. A chart without values is an empty string.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from predictd.reports.markup import Markup, element
from predictd.reports.numbers import format_number
from predictd.reports.plots import LOW_SIZES, SIZES, Line, Plot, Size
from predictd.reports.report import Floats, Model, eras_of
from predictd.scoring.metrics.series import LABELS

_DIGITS = 4
_SUMMARIES: dict[str, Callable[[Floats], float]] = {
    "final": lambda values: float(values[-1]),
    "mean": lambda values: float(values.mean()),
    "largest": lambda values: float(values[np.argmax(np.abs(values))]),
}
_POINTER_VALUES = element("p", class_="reading", aria_live="polite")


def cumulative_chart(models: Sequence[Model], scores: Sequence[str] = ("corr",)) -> Markup:
    """Return a chart of the cumulative sum of scores, a line per model and score; `scores` are keys of SERIES."""
    models = tuple(models)
    eras = eras_of(models)
    lines = [
        Line(
            label=_label(model, score, models, scores), values=_cumulative_sum(model.scores(score, eras)), color=number
        )
        for number, (model, score) in enumerate((model, score) for model in models for score in scores)
    ]
    score_labels = " and ".join(LABELS[score] for score in scores if _has(models, score, eras)) or LABELS[scores[0]]
    return _Figure(
        title=f"Cumulative {score_labels}",
        note="The sum of the scores of all eras so far.",
        eras=eras,
        lines=tuple(lines),
    ).together()


def drawdown_chart(models: Sequence[Model]) -> Markup:
    """Return a chart of the drawdown of cumulative CORR for each model."""
    models = tuple(models)
    eras = eras_of(models)
    return _Figure(
        title="Drawdown of CORR",
        note="How far the sum of CORR is below its highest value so far.",
        eras=eras,
        lines=_lines(models, lambda model: _drawdown(model.scores("corr", eras))),
        summary="largest",
        flat=-0.01,
    ).of_each(_filled)


def exposure_chart(models: Sequence[Model]) -> Markup:
    """Return a chart per model of each era's largest correlation with a feature."""
    models = tuple(models)
    eras = eras_of(models)
    return _Figure(
        title="Feature exposure",
        note="The largest absolute correlation of the predictions with any feature. Lower means less dependence "
        "on a single feature.",
        eras=eras,
        lines=_lines(models, lambda model: model.scores("feature_corr_max", eras)),
        summary="mean",
    ).of_each(_filled)


def era_chart(models: Sequence[Model], score: str = "corr") -> Markup:
    """Return a bar chart per model of the score of each era, on the same scale; `score` is a key of SERIES."""
    models = tuple(models)
    eras = eras_of(models)
    return _Figure(
        title=f"{LABELS[score]} of each era",
        note="Eras without a score are shaded.",
        eras=eras,
        lines=_lines(models, lambda model: model.scores(score, eras)),
        summary="mean",
    ).of_each(Plot.bars)


@dataclass(frozen=True, kw_only=True)
class _Figure:
    """The common parts of the charts: title, legend, table, and the range of all values.

    `summary` selects the value of a line in the legend, a key of _SUMMARIES; `flat` is the lower end of the axis if all
    values are 0.
    """

    title: str
    note: str
    eras: tuple[str, ...]
    lines: tuple[Line, ...]
    summary: str = "final"
    flat: float = 0.0

    def together(self) -> Markup:
        """Return one chart with all lines."""

        def draw(plot: Plot) -> None:
            for line in self._lines_with_values:
                plot.line(line)

        legend = element("ul", *(element("li", *self._key(line)) for line in self._lines_with_values), class_="legend")
        return self._whole(lambda: [legend, *self._charts(SIZES, self._lines_with_values, draw)])

    def of_each(self, draw: Callable[[Plot, Line], None]) -> Markup:
        """Return a chart for each line, under its name, on the same scale."""
        sizes = SIZES if len(self._lines_with_values) == 1 else LOW_SIZES

        def parts() -> list[Markup]:
            children: list[Markup] = []
            for line in self._lines_with_values:
                children.append(element("div", *self._key(line), class_="legend"))
                children += self._charts(sizes, (line,), partial(_draw_line, draw, line))
            return children

        return self._whole(parts)

    @property
    def _lines_with_values(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if not np.isnan(line.values).all())

    def _whole(self, parts: Callable[[], list[Markup]]) -> Markup:
        if not self._lines_with_values:
            return Markup("")
        caption = element("figcaption", element("h3", self.title), element("p", self.note, class_="note"))
        return element("figure", caption, *parts(), _POINTER_VALUES, self._table(), class_="chart")

    def _key(self, line: Line) -> tuple[Markup, ...]:
        value = _SUMMARIES[self.summary](line.values[~np.isnan(line.values)])
        end = element("span", f"{self.summary} ", element("b", format_number(float(value), _DIGITS)), class_="end")
        return _swatch(line), element("span", line.label, class_="name"), end

    def _charts(self, sizes: Sequence[Size], lines: Sequence[Line], draw: Callable[[Plot], None]) -> list[Markup]:
        return [self._svg(size, lines, draw) for size in sizes]

    def _svg(self, size: Size, lines: Sequence[Line], draw: Callable[[Plot], None]) -> Markup:
        values = np.concatenate([line.values for line in self._lines_with_values])
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
            *(element("th", line.label, scope="col") for line in self._lines_with_values),
        )
        rows = (
            element(
                "tr",
                element("th", era, scope="row"),
                *(
                    element("td", format_number(float(line.values[number]), _DIGITS))
                    for line in self._lines_with_values
                ),
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


def _draw_line(draw: Callable[[Plot, Line], None], line: Line, plot: Plot) -> None:
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
    present = values[~np.isnan(values)]
    low, high, last = (format_number(float(value), _DIGITS) for value in (present.min(), present.max(), present[-1]))
    return f"from {low} to {high}, final {last}"


def _has(models: Sequence[Model], score: str, eras: tuple[str, ...]) -> bool:
    return any(not np.isnan(model.scores(score, eras)).all() for model in models)


def _label(model: Model, score: str, models: Sequence[Model], scores: Sequence[str]) -> str:
    if len(models) == 1:
        return LABELS[score]
    return model.name if len(scores) == 1 else f"{model.name}, {LABELS[score]}"


def _cumulative_sum(scores: Floats) -> Floats:
    """Return the sums so far, NaN where there is no score."""
    return np.where(np.isnan(scores), np.nan, np.nancumsum(scores))


def _drawdown(scores: Floats) -> Floats:
    sums = _cumulative_sum(scores)
    highest = np.fmax.accumulate(sums) if len(sums) else sums
    return sums - highest
