"""Whether two runs of a model agree, prediction by prediction of the same id."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from predictd.domain.runs import Predictions
from predictd.scoring.metrics import correlations_by_era

Floats = NDArray[np.float64]

ROUNDING = 1e-6
"""Predictions that differ by no more differ by the rounding of sums."""
_SLIGHT = 0.01
_SLIGHT_CORRELATION = 0.9999
_TIES_CORRELATION = 0.7
_LARGEST_TIE = 0.75


class Kind(StrEnum):
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
            rankings do that break ties each in its own way: ids fall into groups, in the same order in both, and
            only within a group is the order another. DIFFERENT otherwise.
        ids: how many predictions there are.
        differing: how many of them differ by more than `ROUNDING`.
        largest: the largest difference.
        correlation: Spearman's, of the two runs.
        example: the id of the largest difference.
    """

    kind: Kind
    ids: int
    differing: int
    largest: float
    correlation: float
    example: str

    def describe(self) -> str:
        """By how much they differ, as a clause for a person."""
        if not self.differing:
            return f"all {self.ids} agree" if not self.largest else f"all {self.ids} agree to {ROUNDING:g}"
        return (
            f"{self.differing} of {self.ids} differ, by up to {self.largest:.2g} (id {self.example}); "
            f"the two runs are {self.correlation:.3f} correlated"
        )


def agreement(first: Predictions, second: Predictions) -> Agreement:
    """How far two valid submissions of the same ids agree, whatever the order in which they give them."""
    rows = {one: row for row, one in enumerate(second.ids)}
    before = np.asarray(first.values, dtype=np.float64)
    after = np.asarray(second.values, dtype=np.float64)[[rows[one] for one in first.ids]]
    gaps = np.abs(before - after)
    correlation = float(correlations_by_era(before, after, np.array([0, len(before)]))[0])
    return Agreement(
        kind=_kind(before, after, float(gaps.max()), correlation),
        ids=len(gaps),
        differing=int(np.count_nonzero(gaps > ROUNDING)),
        largest=float(gaps.max()),
        correlation=correlation,
        example=first.ids[int(gaps.argmax())],
    )


def _kind(before: Floats, after: Floats, largest: float, correlation: float) -> Kind:
    if largest <= ROUNDING:
        return Kind.SAME
    if largest <= _SLIGHT and correlation >= _SLIGHT_CORRELATION:
        return Kind.SLIGHT
    if correlation >= _TIES_CORRELATION and _largest_group(before, after) <= _LARGEST_TIE * len(before):
        return Kind.TIES
    return Kind.DIFFERENT


def _largest_group(before: Floats, after: Floats) -> int:
    """How many ids the largest group holds, where groups are as small as they can be and in the same order in both."""
    ranks = np.empty(len(after), np.intp)
    ranks[np.lexsort((before, after))] = np.arange(len(after))
    highest = np.maximum.accumulate(ranks[np.lexsort((after, before))])
    # A group ends where so many ids were passed as the highest rank among them allows.
    ends = np.flatnonzero(highest == np.arange(len(after)))
    return int(np.diff(ends, prepend=-1).max())
