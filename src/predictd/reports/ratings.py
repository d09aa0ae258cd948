"""How good a figure is beside those of other models: the part of them that it is better than."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from predictd.reports.metric_catalog import RATED, Figure
from predictd.scoring.metrics import Diagnostics

LEAST_OTHERS = 5
"""Beside fewer models a rating would say nothing."""


@dataclass(frozen=True, kw_only=True)
class Ratings:
    """Ratings of the figures of one model.

    Attributes:
        parts: by the field of a figure, the part of the others that it is better than, 0 to 1; equal ones count half.
        others: how many models it is compared with.
    """

    parts: Mapping[str, float] = field(default_factory=dict)
    others: int = 0

    def of(self, figure: Figure) -> float | None:
        """The rating of a figure; None where it has none."""
        return None if figure.of_tails else self.parts.get(figure.field)

    def shown(self, figure: Figure) -> str:
        """It as people read it: '73 %', empty where there is none."""
        part = self.of(figure)
        return "" if part is None else f"{100 * part:.0f} %"


def rate(diagnostics: Diagnostics, others: Sequence[Mapping[str, float | None]]) -> Ratings | None:
    """The ratings of a model's figures beside those of the others, by their fields; None beside too few."""
    if len(others) < LEAST_OTHERS:
        return None
    parts = {}
    for figure in RATED:
        own = figure.value(diagnostics)
        known = [value for other in others if (value := other.get(figure.field)) is not None]
        if own is None or len(known) < LEAST_OTHERS:
            continue
        worse = sum(figure.better * value < figure.better * own for value in known)
        equal = sum(value == own for value in known)
        parts[figure.field] = (worse + equal / 2) / len(known)
    return Ratings(parts=parts, others=len(others)) if parts else None
