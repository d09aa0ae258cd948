"""A report as one self-contained HTML file, with its style, script and charts."""

import base64
import hashlib
from importlib.resources import files

from predictd.reports.charts import cumulative_chart, drawdown_chart, era_chart, exposure_chart
from predictd.reports.forest_plot import difference_chart, difference_table
from predictd.reports.markup import Markup, element, joined
from predictd.reports.metric_catalog import Metric, MetricGroup
from predictd.reports.metric_ratings import Ratings
from predictd.reports.plots import COLORS
from predictd.reports.report import Model, Report, available_groups, missing_labels
from predictd.scoring.metrics import Comparison
from predictd.scoring.metrics.comparison import Outcome

_MAX_MODELS_WITH_DEFINITIONS = 2
_TILES = (
    ("validation_corr_mean", "CORR mean"),
    ("validation_corr_sharpe", "CORR Sharpe"),
    ("validation_mmc_mean", "MMC mean"),
    ("validation_corr_max_drawdown", "CORR max drawdown"),
)


def page(report: Report) -> str:
    """Return the whole page. Names of models and eras are escaped; the page loads nothing from elsewhere."""
    title = " and ".join(model.name for model in report.models[:2]) if len(report.models) < 3 else _count(report)
    style, script = _asset("report.css"), _asset("report.js")
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"Diagnostics of {title}"),
        element("style", Markup(style)),
    )
    body = element("body", body_of(report, title), element("script", Markup(script)))
    return joined(Markup("<!doctype html>\n"), element("html", head, body, lang="en"), Markup("\n"))


def body_of(report: Report, title: str) -> Markup:
    """Return the content of the page."""
    eras = f"{len(report.eras)} eras, {report.eras[0]} to {report.eras[-1]}" if len(report.eras) > 1 else "one era"
    measured = f"Measured on {report.data}, {eras}." if report.data else f"Measured on {eras}."
    return element(
        "main",
        element(
            "header", element("h1", "Diagnostics of ", element("span", title)), element("p", measured, class_="note")
        ),
        content_of(report),
        class_="report",
    )


def content_of(report: Report) -> Markup:
    """Return the page content below the title, for any page with the style sheet and an element of class `report`."""
    return joined(
        *(_warning(model) for model in report.models if model.diagnostics.suspicion),
        _tiles(report.models[0]) if len(report.models) == 1 else None,
        *(_verdict(comparison) for comparison in report.comparisons),
        _section("Charts", charts(report.models)),
        _section("Metrics", _metrics(report.models)),
        _section("Differences", *map(differences, report.comparisons)) if report.comparisons else None,
        _section("Metric definitions", _glossary(report.models)),
    )


def charts(models: tuple[Model, ...]) -> Markup:
    """Return all charts of one or several models."""
    sums = (
        [cumulative_chart(models, ("corr", "mmc"))]
        if len(models) == 1
        else [cumulative_chart(models, (score,)) for score in ("corr", "mmc")]
    )
    return joined(
        *sums, *(era_chart(models, score) for score in ("corr", "mmc")), drawdown_chart(models), exposure_chart(models)
    )


def differences(comparison: Comparison) -> Markup:
    """Return a comparison without its verdict."""
    blocks = f"{comparison.eras} eras in common, bootstrapped in blocks of {comparison.block}."
    return joined(
        difference_chart(comparison),
        element("details", element("summary", _table_title(comparison)), difference_table(comparison))
        if comparison.differences
        else None,
        element("p", blocks, class_="note") if comparison.outcome is not Outcome.TOO_FEW_ERAS else None,
    )


def _table_title(comparison: Comparison) -> str:
    return f"{comparison.other} and {comparison.base} as a table"


def _section(title: str, *content: Markup) -> Markup:
    return element("section", element("h2", title), *content)


def _warning(model: Model) -> Markup:
    return element(
        "p",
        element("strong", "Warning: "),
        f"{model.name} was probably trained on the validation data. {model.diagnostics.suspicion}",
        class_="warning",
        role="note",
    )


def _tiles(model: Model) -> Markup:
    metrics = {
        metric.field: metric for group in available_groups((model,)) for metric in group.metrics if not metric.of_tails
    }
    return element(
        "dl",
        *(
            element(
                "div",
                element("dt", label),
                element("dd", metrics[field].format(model.diagnostics)),
                _tile_rating(model, metrics[field]),
            )
            for field, label in _TILES
            if field in metrics
        ),
        class_="tiles",
    )


def _tile_rating(model: Model, metric: Metric) -> Markup | None:
    if model.ratings is None or model.ratings.of(metric) is None:
        return None
    text = f"better than {model.ratings.format(metric)} of {model.ratings.model_count} other models"
    return element("dd", text, class_="sub")


def _verdict(comparison: Comparison) -> Markup:
    return element("p", comparison.verdict, class_=f"verdict {comparison.outcome.value}")


def _metrics(models: tuple[Model, ...]) -> Markup:
    columns = [_column(number, model) for number, model in enumerate(models)]
    ratings = _ratings_of(models)
    rating = element("th", "Better than", scope="col") if ratings is not None else None
    means = element("td", class_="means") if len(models) <= _MAX_MODELS_WITH_DEFINITIONS else None
    head = element("tr", element("td"), *columns, rating, means)
    body = (_group(group, models) for group in available_groups(models))
    kind = "figures beside" if means else "figures"
    table = element("table", element("thead", head), *body, class_=kind)
    absent = missing_labels(models)
    return joined(
        element("div", table, class_="scroll", tabindex="0", role="region", aria_label="Metrics"),
        element("p", _rating_note(ratings), class_="note") if ratings is not None else None,
        element("p", f"Not available for this data: {', '.join(absent)}.", class_="note") if absent else None,
    )


def _ratings_of(models: tuple[Model, ...]) -> Ratings | None:
    """Return the ratings to show, which exist for a single model; several models are compared with each other."""
    return models[0].ratings if len(models) == 1 else None


def _rating_note(ratings: Ratings) -> str:
    return (
        f"Better than: the share of {ratings.model_count} other models on this server with a worse value in their "
        "latest diagnostics on the same data. For deviations, exposures and CORR's drawdown, lower is better."
    )


def _column(number: int, model: Model) -> Markup:
    swatch = element("span", class_=f"patch series-{number % COLORS}")
    return element("th", swatch, element("span", model.name), scope="col")


def _group(group: MetricGroup, models: tuple[Model, ...]) -> Markup:
    has_room = len(models) <= _MAX_MODELS_WITH_DEFINITIONS
    ratings = _ratings_of(models)
    across = str(len(models) + 1 + has_room + (ratings is not None))
    title = element("tr", element("th", group.title, scope="rowgroup", colspan=across), class_="group")
    rows = (
        element(
            "tr",
            element(
                "th",
                element("a", metric.label, href=f"#{_anchor(metric)}", data_definition=metric.definition),
                scope="row",
            ),
            *(element("td", metric.format(model.diagnostics)) for model in models),
            _rating(ratings, metric) if ratings is not None else None,
            element("td", metric.definition, class_="means") if has_room else None,
        )
        for metric in group.metrics
    )
    return element("tbody", title, *rows)


def _rating(ratings: Ratings, metric: Metric) -> Markup:
    part = ratings.of(metric)
    if part is None:
        return element("td", class_="rating")
    # The meter repeats the text next to it.
    meter = element("meter", min="0", max="1", value=f"{part:.2f}", aria_hidden="true")
    return element("td", meter, ratings.format(metric), class_="rating")


def _glossary(models: tuple[Model, ...]) -> Markup:
    entries = (
        joined(element("dt", metric.label, id=_anchor(metric)), element("dd", metric.definition))
        for group in available_groups(models)
        for metric in group.metrics
    )
    return element("dl", *entries, class_="glossary")


def _anchor(metric: Metric) -> str:
    return ("tails_" if metric.of_tails else "") + metric.field


def _count(report: Report) -> str:
    return f"{len(report.models)} models"


def _asset(name: str) -> str:
    return files("predictd.reports").joinpath("assets", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
