"""The metrics of a report in groups, with short definitions; docs/reference/metrics.md has the formulas."""

from dataclasses import dataclass

from predictd.reports.numbers import format_number
from predictd.scoring.metrics import Diagnostics


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric: the field of Diagnostics, its label, and its definition.

    `better` is 1 if higher is better, -1 if lower is better, 0 if neither.
    """

    field: str
    label: str
    definition: str
    digits: int = 4
    unit: str = ""
    of_tails: bool = False
    better: int = 0

    def value(self, diagnostics: Diagnostics) -> float | None:
        """Return the value of the metric, or None if it is unavailable."""
        source: Diagnostics | None = diagnostics.tb200_diagnostics if self.of_tails else diagnostics
        if source is None:
            return None
        if self.field == "eras_missing":
            return float(len(source.eras_missing))
        value: float | None = getattr(source, self.field)
        return value

    def format(self, diagnostics: Diagnostics) -> str:
        """Return the formatted value."""
        return format_number(self.value(diagnostics), self.digits, self.unit)


@dataclass(frozen=True, kw_only=True)
class MetricGroup:
    """Related metrics."""

    title: str
    metrics: tuple[Metric, ...]


def _metric(field: str, label: str, definition: str, **more: object) -> Metric:
    return Metric(field=field, label=label, definition=definition, **more)  # type: ignore[arg-type]


_CORR = (
    _metric(
        "validation_corr_mean", "CORR mean", "Mean over eras of CORR20v2, the correlation with the target.", better=1
    ),
    _metric(
        "validation_corr_std",
        "CORR deviation",
        "Standard deviation of CORR over eras: lower is steadier.",
        better=-1,
    ),
    _metric("validation_corr_sharpe", "CORR Sharpe", "Mean over standard deviation of CORR.", digits=2, better=1),
    _metric(
        "validation_adjusted_sharpe",
        "Adjusted Sharpe",
        "CORR Sharpe, reduced for autocorrelation between eras.",
        digits=2,
        better=1,
    ),
    _metric(
        "validation_autocorr", "Autocorrelation", "Correlation of each era's CORR with that of the next.", digits=2
    ),
    _metric(
        "validation_corr_max_drawdown",
        "CORR max drawdown",
        "Largest fall of the sum of CORR below its highest value so far.",
        better=-1,
    ),
    _metric(
        "validation_max_drawdown",
        "Max drawdown",
        "The same for CORR compounded era by era, as a fraction of the highest value: 0 or negative.",
        better=1,
    ),
    _metric(
        "validation_apy",
        "APY",
        "Yield of a year of 49 weeks if CORR were paid out and compounded.",
        digits=1,
        unit=" %",
        better=1,
    ),
)
_CONTRIBUTION = (
    _metric(
        "validation_mmc_mean", "MMC mean", "Mean contribution to the meta model beyond its own predictions.", better=1
    ),
    _metric("validation_mmc_std", "MMC deviation", "Standard deviation of MMC over eras.", better=-1),
    _metric("validation_mmc_sharpe", "MMC Sharpe", "Mean over standard deviation of MMC.", digits=2, better=1),
    _metric("validation_bmc_mean", "BMC mean", "Mean contribution to the benchmark model.", better=1),
    _metric(
        "validation_corr_plus_mmc_mean", "CORR + MMC mean", "Mean of the sum of CORR and MMC of each era.", better=1
    ),
    _metric("validation_corr_plus_mmc_std", "CORR + MMC deviation", "Standard deviation of CORR + MMC.", better=-1),
    _metric(
        "validation_corr_plus_mmc_sharpe",
        "CORR + MMC Sharpe",
        "Mean over standard deviation of CORR + MMC.",
        digits=2,
        better=1,
    ),
    _metric(
        "validation_corr_plus_mmc_sharpe_diff",
        "Sharpe gained by MMC",
        "Sharpe of CORR + MMC minus that of CORR, over eras that have both.",
        digits=2,
        better=1,
    ),
)
_FEATURES = (
    _metric(
        "validation_feature_neutral_corr_mean",
        "FNC mean",
        "Mean CORR after linear neutralization to all features.",
        better=1,
    ),
    _metric(
        "validation_feature_neutral_corr_v3_mean",
        "FNCv3 mean",
        "The same for the features of the set fncv3_features.",
        better=1,
    ),
    _metric(
        "validation_feature_corr_max",
        "Max feature correlation",
        "Mean over eras of the largest correlation with a feature: lower is less dependence on a single feature.",
        better=-1,
    ),
)
_COMPARED = (
    _metric(
        "validation_corr_corr_w_example_preds",
        "With example predictions",
        "Mean correlation with the example predictions.",
        digits=2,
    ),
    _metric("example_preds_corr_mean", "CORR of the example", "Mean CORR of the example predictions, for comparison."),
    _metric("validation_churn_mean", "Churn mean", "How much the order of ids changes from era to era."),
    _metric("validation_turnover_mean", "Turnover mean", "How much portfolio weights change from era to era."),
)
_TAILS = (
    _metric(
        "validation_corr_mean", "CORR mean, tails", "CORR of the 200 highest and lowest predictions.", of_tails=True
    ),
    _metric(
        "validation_corr_sharpe",
        "CORR Sharpe, tails",
        "Mean over standard deviation of CORR, tails.",
        digits=2,
        of_tails=True,
    ),
    _metric("validation_mmc_mean", "MMC mean, tails", "MMC of the 200 highest and lowest predictions.", of_tails=True),
)
_ERAS = (
    _metric("eras_accepted_count", "Eras with CORR", "Eras that have targets and enough predictions.", digits=0),
    _metric("eras_missing", "Eras missing", "Eras with targets but too few predictions.", digits=0),
)
GROUPS = (
    MetricGroup(title="Correlation with the target", metrics=_CORR),
    MetricGroup(title="Contribution", metrics=_CONTRIBUTION),
    MetricGroup(title="Feature neutrality", metrics=_FEATURES),
    MetricGroup(title="Comparison and stability", metrics=_COMPARED),
    MetricGroup(title="Top and bottom 200", metrics=_TAILS),
    MetricGroup(title="Eras", metrics=_ERAS),
)


RATED = tuple(metric for group in GROUPS for metric in group.metrics if metric.better and not metric.of_tails)
