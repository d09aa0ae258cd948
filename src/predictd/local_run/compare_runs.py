"""Compare the predictions of two runs of a model by id."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from predictd.domain.runs import Predictions
from predictd.scoring.metrics import correlations_by_era

Floats = NDArray[np.float64]

ROUNDING = 1e-6
"""Smaller differences of predictions are rounding errors."""
_SLIGHT_DIFFERENCE = 0.01
_SLIGHT_CORRELATION = 0.9999
_TIES_CORRELATION = 0.7
_LARGEST_TIE = 0.75


class AgreementKind(StrEnum):
    """How far two runs agree."""

    SAME = "same"
    SLIGHT = "slight"
    TIES = "ties"
    DIFFERENT = "different"


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far the predictions of two runs for the same ids agree.

    Attributes:
        kind: SAME up to `ROUNDING`. SLIGHT if the order of the ids is nearly the same. TIES if they differ as two
            rankings do that break ties differently: ids fall into groups, in the same order in both, and
            the order only differs within groups. DIFFERENT otherwise.
        ids: number of predictions.
        differing: number of predictions that differ by more than `ROUNDING`.
        largest: the largest difference.
        correlation: Spearman correlation of the two runs.
        example: the id of the largest difference.
    """

    kind: AgreementKind
    ids: int
    differing: int
    largest: float
    correlation: float
    example: str

    def describe(self) -> str:
        """Describe the differences in a clause."""
        if not self.differing:
            return f"all {self.ids} agree" if not self.largest else f"all {self.ids} agree to {ROUNDING:g}"
        return (
            f"{self.differing} of {self.ids} differ, by up to {self.largest:.2g} (id {self.example}); "
            f"the two runs are {self.correlation:.3f} correlated"
        )


def compare_predictions(first: Predictions, second: Predictions) -> Agreement:
    """Compare two valid submissions of the same ids, in any order."""
    rows = {row_id: row for row, row_id in enumerate(second.ids)}
    before = np.asarray(first.values, dtype=np.float64)
    after = np.asarray(second.values, dtype=np.float64)[[rows[row_id] for row_id in first.ids]]
    gaps = np.abs(before - after)
    correlation = float(correlations_by_era(before, after, np.array([0, len(before)]))[0])
    return Agreement(
        kind=_classify(before, after, float(gaps.max()), correlation),
        ids=len(gaps),
        differing=int(np.count_nonzero(gaps > ROUNDING)),
        largest=float(gaps.max()),
        correlation=correlation,
        example=first.ids[int(gaps.argmax())],
    )


def _classify(before: Floats, after: Floats, largest: float, correlation: float) -> AgreementKind:
    if largest <= ROUNDING:
        return AgreementKind.SAME
    if largest <= _SLIGHT_DIFFERENCE and correlation >= _SLIGHT_CORRELATION:
        return AgreementKind.SLIGHT
    if correlation >= _TIES_CORRELATION and _largest_group(before, after) <= _LARGEST_TIE * len(before):
        return AgreementKind.TIES
    return AgreementKind.DIFFERENT


def _largest_group(before: Floats, after: Floats) -> int:
    """Return the size of the largest group, for the smallest groups that are in the same order in both."""
    ranks = np.empty(len(after), np.intp)
    ranks[np.lexsort((before, after))] = np.arange(len(after))
    highest = np.maximum.accumulate(ranks[np.lexsort((after, before))])
    # A group ends where the number of ids so far equals the highest rank so far.
    ends = np.flatnonzero(highest == np.arange(len(after)))
    return int(np.diff(ends, prepend=-1).max())
