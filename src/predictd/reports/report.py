"""The contents of a report: models by name, their diagnostics, and their comparisons."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd.reports.metric_catalog import GROUPS, MetricGroup
from predictd.reports.metric_ratings import Ratings
from predictd.scoring.metrics import Comparison, Diagnostics, series

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model and its diagnostics on the validation data. The name is untrusted and may contain markup."""

    name: str
    diagnostics: Diagnostics
    ratings: Ratings | None = None

    def scores(self, score: str, eras: tuple[str, ...]) -> Floats:
        """Return a series of `scoring.metrics.series` for those eras, NaN where there is none, shape (eras,)."""
        names = (era.era for era in self.diagnostics.per_era_diagnostics)
        scores = dict(zip(names, series(self.diagnostics, score), strict=True))
        return np.array([scores.get(era, np.nan) for era in eras], dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Report:
    """One or more models; the first is the baseline of the comparisons.

    Attributes:
        models: at least one.
        comparisons: one for each model except the first, or empty.
        data: the data version, for example 'v5.3'; empty if unknown.
    """

    models: tuple[Model, ...]
    comparisons: tuple[Comparison, ...] = ()
    data: str = ""

    @cached_property
    def eras(self) -> tuple[str, ...]:
        """All eras of the models, in order."""
        return eras_of(self.models)

    def wire(self) -> dict[str, Any]:
        """Return the report as JSON; the diagnostics use the names of the GraphQL schema."""
        return {
            "data": self.data or None,
            "models": [
                {
                    "name": model.name,
                    "suspicion": model.diagnostics.suspicion,
                    "diagnostics": model.diagnostics.wire(),
                }
                for model in self.models
            ],
            "comparisons": [comparison.wire() for comparison in self.comparisons],
        }


def eras_of(models: tuple[Model, ...]) -> tuple[str, ...]:
    """Return all eras of the models: in the order of the first, or sorted by name if the models differ."""
    lists = [[era.era for era in model.diagnostics.per_era_diagnostics] for model in models]
    if all(eras == lists[0] for eras in lists):
        return tuple(lists[0])
    return tuple(sorted({era for eras in lists for era in eras}, key=_era_order))


def _era_order(era: str) -> tuple[int, str]:
    """Order eras by number, with or without leading zeros."""
    digits = "".join(character for character in era if character in "0123456789")
    return int(digits[:18] or "0"), era


def available_groups(models: Sequence[Model]) -> Iterator[MetricGroup]:
    """Yield the groups with the metrics that at least one of the models has."""
    for group in GROUPS:
        metrics = tuple(
            metric for metric in group.metrics if any(metric.value(model.diagnostics) is not None for model in models)
        )
        if metrics:
            yield MetricGroup(title=group.title, metrics=metrics)


def missing_labels(models: Sequence[Model]) -> list[str]:
    """Return the labels of the metrics that no model has."""
    available = {metric.label for group in available_groups(models) for metric in group.metrics}
    return [metric.label for group in GROUPS for metric in group.metrics if metric.label not in available]
