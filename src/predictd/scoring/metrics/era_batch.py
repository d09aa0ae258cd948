"""The submissions of one era, those with the same rows together, ranked once for all metrics."""

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np

from predictd.scoring.metrics.ranks import Floats, Integers, Ranking, Truths


class Submitted:
    """Submissions of one era that have predictions for the same rows.

    Attributes:
        columns: which of the era's submissions these are, ascending.
        rows: which of the era's rows they have, shape (rows of the era,).
        values: their predictions for those rows, shape (submissions, rows they have), none missing.
    """

    def __init__(self, columns: Integers, rows: Truths, values: Floats) -> None:
        self.columns = columns
        self.rows = rows
        self.values = values
        self._rankings: dict[bytes, Ranking] = {}

    @property
    def complete(self) -> bool:
        """Whether they have all rows of the era."""
        return bool(len(self.rows) == self.values.shape[1])

    def ranking(self, rows: Truths | None = None) -> Ranking:
        """The ranking of the rows they have, or of those of the era's `rows` alone, which they must have."""
        if rows is None:
            return self._whole
        chosen = self.chosen(rows)
        if chosen.all():
            return self._whole
        key = rows.tobytes()
        if key not in self._rankings:
            self._rankings[key] = self._whole.within(chosen)
        return self._rankings[key]

    @cached_property
    def _whole(self) -> Ranking:
        return Ranking.of(self.values)

    def chosen(self, rows: Truths) -> Truths:
        """Which of the rows they have are among the era's `rows`; as long as `values` is wide."""
        return rows if self.complete else rows[self.rows]


def groups(predictions: Floats) -> Iterator[Submitted]:
    """The submissions of one era, shape (submissions, rows), NaN where a row is missing, by the rows they have."""
    present = ~np.isnan(predictions)
    complete = np.asarray(present.all(axis=1))
    if complete.all():
        yield Submitted(np.arange(len(predictions)), np.ones(predictions.shape[1], dtype=np.bool_), predictions)
        return
    by_rows: dict[bytes, list[int]] = {}
    for number, rows in enumerate(present):
        by_rows.setdefault(b"" if complete[number] else np.packbits(rows).tobytes(), []).append(number)
    for numbers in by_rows.values():
        rows = present[numbers[0]]
        if rows.any():
            columns = np.array(numbers)
            yield Submitted(columns, rows, np.ascontiguousarray(predictions[columns][:, rows]))


def each(predictions: Floats, score: Callable[[Submitted], Floats]) -> Floats:
    """One score per submission of an era, shape (submissions,).

    `predictions` has the shape (submissions, rows), NaN where a row is missing. `score` gives one value per column of
    what it is called with; a submission without any row is not a number.
    """
    found = np.full(len(predictions), np.nan)
    for group in groups(predictions):
        found[group.columns] = score(group)
    return found
