"""The figures of a report in groups, with the short definitions that people read; docs/metrics.md has the formulas."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from predictd.reports.numbers import shown
from predictd.scoring.metrics import Diagnostics

if TYPE_CHECKING:
    from predictd.reports.report import Model


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure: the field of Diagnostics, what people call it, and what it means.

    `better` is 1 where more of it is better, -1 where less is, 0 where that can't be said.
    """

    field: str
    label: str
    definition: str
    digits: int = 4
    unit: str = ""
    of_tails: bool = False
    better: int = 0

    def value(self, diagnostics: Diagnostics) -> float | None:
        """The figure, or None where it can't be had."""
        found: Diagnostics | None = diagnostics.tb200_diagnostics if self.of_tails else diagnostics
        if found is None:
            return None
        if self.field == "eras_missing":
            return float(len(found.eras_missing))
        value: float | None = getattr(found, self.field)
        return value

    def shown(self, diagnostics: Diagnostics) -> str:
        """The figure as people read it."""
        return shown(self.value(diagnostics), self.digits, self.unit)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Figures that belong together."""

    title: str
    figures: tuple[Figure, ...]


def _figure(field: str, label: str, definition: str, **more: object) -> Figure:
    return Figure(field=field, label=label, definition=definition, **more)  # type: ignore[arg-type]


_CORR = (
    _figure(
        "validation_corr_mean", "CORR mean", "Mean over eras of CORR20v2, the correlation with the target.", better=1
    ),
    _figure(
        "validation_corr_std",
        "CORR deviation",
        "Standard deviation of CORR over eras: the lower, the steadier.",
        better=-1,
    ),
    _figure("validation_corr_sharpe", "CORR Sharpe", "Mean over standard deviation of CORR.", digits=2, better=1),
    _figure(
        "validation_adjusted_sharpe",
        "Adjusted Sharpe",
        "CORR Sharpe, lowered by how much an era's CORR follows from the one before.",
        digits=2,
        better=1,
    ),
    _figure(
        "validation_autocorr", "Autocorrelation", "Correlation of each era's CORR with that of the next.", digits=2
    ),
    _figure(
        "validation_corr_max_drawdown",
        "CORR max drawdown",
        "Largest fall of the sum of CORR below its highest so far.",
        better=-1,
    ),
    _figure(
        "validation_max_drawdown",
        "Max drawdown",
        "The same of CORR compounded era by era, as a part of the highest: 0 or negative.",
        better=1,
    ),
    _figure(
        "validation_apy",
        "APY",
        "Yield of a year of 49 weeks if CORR were paid out and compounded.",
        digits=1,
        unit=" %",
        better=1,
    ),
)
_CONTRIBUTION = (
    _figure(
        "validation_mmc_mean", "MMC mean", "Mean contribution to the meta model beyond what it has already.", better=1
    ),
    _figure("validation_mmc_std", "MMC deviation", "Standard deviation of MMC over eras.", better=-1),
    _figure("validation_mmc_sharpe", "MMC Sharpe", "Mean over standard deviation of MMC.", digits=2, better=1),
    _figure("validation_bmc_mean", "BMC mean", "Mean contribution to the benchmark model.", better=1),
    _figure(
        "validation_corr_plus_mmc_mean", "CORR + MMC mean", "Mean of the sum of CORR and MMC of each era.", better=1
    ),
    _figure("validation_corr_plus_mmc_std", "CORR + MMC deviation", "Standard deviation of that sum.", better=-1),
    _figure(
        "validation_corr_plus_mmc_sharpe", "CORR + MMC Sharpe", "Mean over deviation of that sum.", digits=2, better=1
    ),
    _figure(
        "validation_corr_plus_mmc_sharpe_diff",
        "Sharpe gained by MMC",
        "Sharpe of CORR + MMC less that of CORR, over eras that have both.",
        digits=2,
        better=1,
    ),
)
_FEATURES = (
    _figure(
        "validation_feature_neutral_corr_mean",
        "FNC mean",
        "Mean CORR of what is left beside all features (linear).",
        better=1,
    ),
    _figure(
        "validation_feature_neutral_corr_v3_mean",
        "FNCv3 mean",
        "The same beside the features of the set fncv3_features.",
        better=1,
    ),
    _figure(
        "validation_feature_corr_max",
        "Max feature correlation",
        "Mean over eras of the largest correlation with a feature: the lower, the less it depends on one.",
        better=-1,
    ),
)
_OTHERS = (
    _figure(
        "validation_corr_corr_w_example_preds", "With example predictions", "Mean correlation with them.", digits=2
    ),
    _figure("example_preds_corr_mean", "CORR of the example", "Mean CORR of the example predictions, to compare with."),
    _figure("validation_churn_mean", "Churn mean", "How much the order of ids changes from era to era."),
    _figure("validation_turnover_mean", "Turnover mean", "How much portfolio weights change from era to era."),
)
_TAILS = (
    _figure(
        "validation_corr_mean", "CORR mean, tails", "CORR of the 200 highest and lowest predictions.", of_tails=True
    ),
    _figure("validation_corr_sharpe", "CORR Sharpe, tails", "Mean over deviation of that.", digits=2, of_tails=True),
    _figure("validation_mmc_mean", "MMC mean, tails", "MMC of the 200 highest and lowest predictions.", of_tails=True),
)
_ERAS = (
    _figure("eras_accepted_count", "Eras with CORR", "Eras that have targets and enough predictions.", digits=0),
    _figure("eras_missing", "Eras missing", "Eras with targets but too few predictions.", digits=0),
)
GROUPS = (
    Group(title="Correlation with the target", figures=_CORR),
    Group(title="Contribution", figures=_CONTRIBUTION),
    Group(title="Beside the features", figures=_FEATURES),
    Group(title="Beside other models and eras", figures=_OTHERS),
    Group(title="Top and bottom 200", figures=_TAILS),
    Group(title="Eras", figures=_ERAS),
)


RATED = tuple(figure for group in GROUPS for figure in group.figures if figure.better and not figure.of_tails)


def known_groups(models: "Sequence[Model]") -> Iterator[Group]:
    """The groups with those figures that at least one of the models has."""
    for group in GROUPS:
        known = tuple(one for one in group.figures if any(one.value(model.diagnostics) is not None for model in models))
        if known:
            yield Group(title=group.title, figures=known)


def lacking(models: "Sequence[Model]") -> list[str]:
    """The labels of the figures that no model has."""
    known = {figure.label for group in known_groups(models) for figure in group.figures}
    return [figure.label for group in GROUPS for figure in group.figures if figure.label not in known]
