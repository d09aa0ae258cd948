"""Rate the metrics of a model by the share of other models that it is better than."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from predictd.reports.metric_catalog import RATED, Metric
from predictd.scoring.metrics import Diagnostics

MIN_MODELS = 5
"""A rating among fewer models is meaningless."""


@dataclass(frozen=True, kw_only=True)
class Ratings:
    """Ratings of the metrics of one model.

    Attributes:
        shares: field of a metric -> share of the other models that it is better than, 0 to 1; equal values count half.
        model_count: the number of other models.
    """

    shares: Mapping[str, float] = field(default_factory=dict)
    model_count: int = 0

    def of(self, metric: Metric) -> float | None:
        """Return the rating of a metric, or None."""
        return None if metric.of_tails else self.shares.get(metric.field)

    def format(self, metric: Metric) -> str:
        """Return the formatted rating, '73%', or an empty string."""
        part = self.of(metric)
        return "" if part is None else f"{100 * part:.0f}%"


def rate(diagnostics: Diagnostics, other_models: Sequence[Mapping[str, float | None]]) -> Ratings | None:
    """Rate a model's metrics among those of other models, by their fields; None if there are too few models."""
    if len(other_models) < MIN_MODELS:
        return None
    shares = {}
    for metric in RATED:
        own = metric.value(diagnostics)
        other_values = [value for other in other_models if (value := other.get(metric.field)) is not None]
        if own is None or len(other_values) < MIN_MODELS:
            continue
        worse = sum(metric.better * value < metric.better * own for value in other_values)
        equal = sum(value == own for value in other_values)
        shares[metric.field] = (worse + equal / 2) / len(other_values)
    return Ratings(shares=shares, model_count=len(other_models)) if shares else None
