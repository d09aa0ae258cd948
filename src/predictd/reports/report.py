"""What a report shows: models by name, their diagnostics, and how they compare."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd.reports.ratings import Ratings
from predictd.scoring.metrics import Comparison, Diagnostics, series

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model and what it did on the validation data. Nobody vouches for the name: it may hold markup."""

    name: str
    diagnostics: Diagnostics
    ratings: Ratings | None = None

    def scores(self, score: str, eras: tuple[str, ...]) -> Floats:
        """A series of `scoring.metrics.series` in those eras, NaN where there is none, shape (eras,)."""
        names = (era.era for era in self.diagnostics.per_era_diagnostics)
        found = dict(zip(names, series(self.diagnostics, score), strict=True))
        return np.array([found.get(era, np.nan) for era in eras], dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Report:
    """One or more models, the first of which the others are compared with.

    Attributes:
        models: at least one.
        comparisons: one for each model but the first, or none.
        data: what they were measured by, for example 'v5.3'; empty if that is unknown.
    """

    models: tuple[Model, ...]
    comparisons: tuple[Comparison, ...] = ()
    data: str = ""

    @cached_property
    def eras(self) -> tuple[str, ...]:
        """All eras of the models, in order."""
        return eras_of(self.models)

    def wire(self) -> dict[str, Any]:
        """All of it as JSON has it; the diagnostics have the names of the GraphQL schema."""
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
    """All eras of the models: in the order of the first, where a later one has more of them by their names."""
    lists = [[era.era for era in model.diagnostics.per_era_diagnostics] for model in models]
    if all(eras == lists[0] for eras in lists):
        return tuple(lists[0])
    return tuple(sorted({era for eras in lists for era in eras}, key=_in_time))


def _in_time(era: str) -> tuple[int, str]:
    """Numbers by their value, whether or not they have zeros in front."""
    digits = "".join(one for one in era if one in "0123456789")
    return int(digits[:18] or "0"), era
