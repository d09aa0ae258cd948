"""Ranks of many submissions at once, their normal quantiles, and these to the power of 1.5."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from predictd.scoring.metrics.normal import quantile

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]
Truths = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The order of an era's rows in each submission; sorted once and shared by all metrics.

    Attributes:
        order: positions of the rows, ascending by value, shape (submissions, rows).
        rises: whether a value in that order is larger than the previous value, shape (submissions, rows - 1); None if
            no submission has equal values.
    """

    order: Integers
    rises: Truths | None

    @classmethod
    def of(cls, values: Floats, *, gap: float = 0.0, stable: bool = False) -> "Ranking":
        """Return the ranking of `values`, shape (submissions, rows), without missing values.

        Neighboring values that differ by at most `gap` are ties. With `stable`, ties are ordered by position.
        """
        order = np.argsort(values, axis=1, kind="stable" if stable else None)
        ascending = np.take_along_axis(values, order, axis=1)
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            rises = ascending[:, 1:] - ascending[:, :-1] > gap if gap else ascending[:, 1:] > ascending[:, :-1]
        return cls(order=order, rises=None if rises.all() else rises)

    def within(self, rows: Truths) -> "Ranking":
        """Return the ranking of only the rows that are True, without sorting again."""
        chosen = rows[self.order]
        count = int(np.count_nonzero(rows))
        positions = np.cumsum(rows) - 1
        order = positions[self.order[chosen]].reshape(-1, count)
        if self.rises is None:
            return Ranking(order=order, rises=None)
        levels = np.zeros(self.order.shape, dtype=np.intp)
        np.cumsum(self.rises, axis=1, out=levels[:, 1:])
        groups = levels[chosen].reshape(-1, count)
        rises = groups[:, 1:] > groups[:, :-1]
        return Ranking(order=order, rises=None if rises.all() else rises)

    @cached_property
    def doubled(self) -> Integers:
        """Twice the rank of each row, from 0, ties sharing the mean of their ranks; (submissions, rows)."""
        rows = self.order.shape[1]
        ranks = np.empty_like(self.order)
        np.put_along_axis(ranks, self.order, np.arange(0, 2 * rows, 2)[None], axis=1)
        if self.rises is not None:
            for number in np.flatnonzero(~self.rises.all(axis=1)):
                starts = np.flatnonzero(np.concatenate([[True], self.rises[number]]))
                ends = np.append(starts[1:], rows)
                ranks[number, self.order[number]] = np.repeat(starts + ends - 1, ends - starts)
        return ranks

    @cached_property
    def gaussian(self) -> Floats:
        """The normal quantile of each percentile rank, (rank - 0.5) / rows; shape (submissions, rows)."""
        return np.asarray(gaussian_table(self.order.shape[1])[self.doubled])

    @cached_property
    def powered(self) -> Floats:
        """`gaussian` to the power of 1.5 with its sign; shape (submissions, rows)."""
        return np.asarray(powered_table(self.order.shape[1])[self.doubled])

    @cached_property
    def constant(self) -> Truths:
        """Whether each submission has a single value in all rows, shape (submissions,)."""
        if self.rises is None:
            return np.full(len(self.order), self.order.shape[1] < 2)
        return np.asarray(~self.rises.any(axis=1))


@lru_cache(maxsize=256)
def gaussian_table(rows: int) -> Floats:
    """Return the normal quantiles of the percentile ranks of `rows` rows, by `Ranking.doubled`; read-only."""
    table = quantile((np.arange(2 * rows - 1) / 2 + 0.5) / rows)
    table.flags.writeable = False
    return table


@lru_cache(maxsize=256)
def powered_table(rows: int) -> Floats:
    """Return `gaussian_table` to the power of 1.5 with signs; read-only."""
    table = powered(gaussian_table(rows))
    table.flags.writeable = False
    return table


def powered(values: Floats) -> Floats:
    """Return values to the power of 1.5 with their signs."""
    magnitude = np.abs(values)
    return np.asarray(np.copysign(magnitude * np.sqrt(magnitude), values))


def extremes(values: Floats, count: int) -> Integers | None:
    """Return positions of the `count` lowest and highest values of each row of `values`, ties by position.

    Shape (submissions, 2 * count), or None if there are fewer values.
    """
    if values.shape[1] < 2 * count:
        return None
    order = np.argsort(values, axis=1, kind="stable")
    return np.concatenate([order[:, :count], order[:, -count:]], axis=1)
