"""What a person reads of diagnostics: charts that hold whatever there is, a page that is safe to send, a table."""

import io
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from predictd.reports import Model, Report, page, print_report
from predictd.reports.charts import cumulative_chart, drawdown_chart, era_chart, exposure_chart
from predictd.reports.forest_plot import difference_chart
from predictd.reports.numbers import format_number, ticks, widened
from predictd.reports.terminal_report import sparkline
from predictd.scoring.metrics import compare, diagnose

HOSTILE = "<script>alert('x')</script>\x1b[31m\"&"
EMPTY = {"meta", "path", "rect", "line", "circle"}
Series = NDArray[np.float64]


def noise(count: int) -> Series:
    return np.random.default_rng(count).normal(0.01, 0.03, count)


def with_gaps(count: int) -> Series:
    values = noise(count)
    values[1::3] = np.nan
    return values


SERIES: dict[str, Callable[[int], Series]] = {
    "noise": noise,
    "gaps": with_gaps,
    "losses": lambda count: -np.abs(noise(count)),
    "zeros": np.zeros,
    "equal": lambda count: np.full(count, 0.02),
    "tiny": lambda count: noise(count) * 1e-9,
    "one outlier": lambda count: np.where(np.arange(count) == count // 2, 1.0, noise(count)),
}


def model(values: Series, name: str = "model") -> Model:
    eras = [f"{575 + number:04d}" for number in range(len(values))]
    found = diagnose(eras=eras, corr=values, mmc=values / 2, feature_corr_max=np.abs(values), fnc=values)
    return Model(name=name, diagnostics=found)


def report(*models: Model) -> Report:
    first = models[0]
    comparisons = tuple(
        compare(first.diagnostics, other.diagnostics, names=(first.name, other.name)) for other in models[1:]
    )
    return Report(models=models, comparisons=comparisons, data="v5.3")


@pytest.mark.parametrize("count", [1, 5, 600])
@pytest.mark.parametrize("kind", SERIES)
@pytest.mark.parametrize("models", [1, 7])
def test_charts_hold_any_series_within_their_frames(count: int, kind: str, models: int) -> None:
    shown_models = [model(SERIES[kind](count), f"{HOSTILE} {number}") for number in range(models)]
    charts = (cumulative_chart(shown_models, ("corr", "mmc")), era_chart(shown_models), drawdown_chart(shown_models))
    for chart in (*charts, exposure_chart(shown_models)):
        figure = ElementTree.fromstring(chart)
        assert not re.search(r"nan|inf", " ".join(_coordinates(figure)))
        assert list(figure.iter("script")) == []
        drawn = [svg for svg in figure.iter("svg") if svg.get("role") == "img"]
        assert len(drawn) >= 2
        for svg in drawn:
            assert "The table below has the values." in str(svg.get("aria-label"))
            _assert_inside(svg)
        assert len(figure.findall("details/div/table/tbody/tr")) == count


def test_eras_without_a_score_are_gaps_and_not_zeros() -> None:
    values = np.array([0.01, np.nan, 0.02, 0.03, np.nan])
    bars = ElementTree.fromstring(era_chart([model(values)]))
    path = next(one for one in bars.iter("path") if "bars" in str(one.get("class")))
    assert str(path.get("d")).count("M") == 3
    gaps = next(one for one in bars.iter("path") if one.get("class") == "gap")
    assert str(gaps.get("d")).count("M") == 2
    cells = [str(one.text) for one in bars.iter("td")]
    assert cells == ["0.0100", "–", "0.0200", "0.0300", "–"]  # noqa: RUF001 (a dash)
    line = ElementTree.fromstring(cumulative_chart([model(values)]))
    assert [str(one.text) for one in line.iter("td")][2:4] == ["0.0300", "0.0600"]


def test_what_has_no_score_has_no_chart() -> None:
    alone = Model(name="a", diagnostics=diagnose(eras=["1"], corr=np.array([0.1])))
    assert exposure_chart([alone]) == ""
    assert era_chart([alone], "mmc") == ""
    assert "Feature exposure" not in page(report(alone))


def test_intervals_are_drawn_around_their_differences() -> None:
    base = noise(100)
    found = compare(model(base).diagnostics, model(base + 0.01 + noise(100) / 9).diagnostics, names=("old", HOSTILE))
    figure = ElementTree.fromstring(difference_chart(found))
    for svg in figure.iter("svg"):
        _assert_inside(svg)
    assert next(one.get("class") for one in figure.iter("circle")) == "estimate more"


@pytest.mark.parametrize("count", [1, 5, 600])
@pytest.mark.parametrize("models", [1, 2, 5])
def test_the_page_is_whole_and_asks_for_nothing_from_elsewhere(count: int, models: int) -> None:
    text = page(report(*(model(with_gaps(count) + number / 100, f"{HOSTILE}{number}") for number in range(models))))
    parsed = Parsed()
    parsed.feed(text)
    parsed.close()
    assert parsed.open == []
    assert parsed.count["script"] == parsed.count["style"] == 1
    assert not {"style", "onload", "onclick", "src"} & parsed.attributes
    assert all(target.startswith("#") and target[1:] in parsed.ids for target in parsed.targets)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    assert "alert('x')</script>" not in text
    assert "\x1b" not in text
    assert "default-src &#x27;none&#x27;" in text


def test_the_page_warns_of_a_model_that_was_trained_on_the_validation_data() -> None:
    text = page(report(model(noise(60) + 0.3, "peeked")))
    assert "peeked was probably trained on the validation data. The mean CORR is 0.3" in text


@pytest.mark.parametrize("width", [60, 100, 200])
def test_the_terminal_shows_figures_sparklines_and_the_verdict_within_its_width(width: int) -> None:
    out = io.StringIO()
    better = model(with_gaps(90) + 0.01, HOSTILE)
    print_report(report(model(with_gaps(90), "old"), better), Console(file=out, width=width))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    joined = " ".join(text.split())
    assert "is better than old: it has 0.0100 more CORR (0.0100 to 0.0100)" in joined
    assert format_number(better.diagnostics.validation_corr_sharpe, 2) in joined
    assert "90 eras, 0575 to 0664" in joined


def test_a_sparkline_has_a_block_for_each_era_and_means_where_there_is_no_room() -> None:
    assert sparkline(np.array([0.0, np.nan, 0.5, 1.0])) == "▁·▅█"
    assert sparkline(np.arange(600.0), 8) == "▁▂▃▄▅▆▇█"
    assert sparkline(np.array([0.3])) == "▅"
    assert sparkline(np.full(3, np.nan)) == "···"


@pytest.mark.parametrize(("low", "high"), [(0, 0), (-0.02, 0.1), (-1e-12, 3e-9), (0, 12.3), (-5000, -1)])
def test_an_axis_has_round_numbers_within_its_range(low: float, high: float) -> None:
    low, high = widened(low, high)
    marks = ticks(low, high, 5)
    assert 2 <= len(marks) <= 12
    assert low - 1e-9 * (high - low) <= marks[0] < marks[-1] <= high + 1e-9 * (high - low)
    assert low <= 0 <= high


class Parsed(HTMLParser):
    """The elements of a page, and those that are still open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count = {"script": 0, "style": 0}
        self.attributes: set[str] = set()
        self.targets: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in EMPTY:
            self.open.append(tag)
        if tag in self.count:
            self.count[tag] += 1
        for name, value in attrs:
            self.attributes.add(name)
            if name == "href":
                self.targets.append(str(value))
            if name == "id":
                assert value not in self.ids
                self.ids.add(str(value))

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY:
            assert self.open.pop() == tag


def _coordinates(figure: ElementTree.Element) -> Iterator[str]:
    for one in figure.iter():
        for name in ("d", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "data-left", "data-step", "viewBox"):
            if name in one.attrib:
                yield one.attrib[name]


def _assert_inside(svg: ElementTree.Element) -> None:
    _, _, width, height = map(float, str(svg.get("viewBox")).split())
    for one in svg.iter():
        for names, most in ((("x", "x1", "x2", "cx"), width), (("y", "y1", "y2", "cy"), height)):
            for name in names:
                assert 0 <= float(one.get(name, 0)) <= most
        for across, down in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", str(one.get("d", ""))):
            assert 0 <= float(across) <= width
            assert 0 <= float(down) <= height
