"""The submissions of one era, grouped by their rows and ranked once for all metrics."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from predictd.scoring.metrics.ranks import Floats, Integers, Ranking, Truths


class SubmissionGroup:
    """Submissions of one era that have predictions for the same rows.

    Attributes:
        columns: the positions of the era's submissions in this group, ascending.
        rows: whether they have each row of the era, shape (rows of the era,).
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
        """Return the ranking of their rows, or only of the era's `rows`, which they must have."""
        if rows is None:
            return self._whole
        chosen = self.selection(rows)
        if chosen.all():
            return self._whole
        key = rows.tobytes()
        if key not in self._rankings:
            self._rankings[key] = self._whole.within(chosen)
        return self._rankings[key]

    @cached_property
    def _whole(self) -> Ranking:
        return Ranking.of(self.values)

    def selection(self, rows: Truths) -> Truths:
        """Return which of their rows are among the era's `rows`, one for each column of `values`."""
        return rows if self.complete else rows[self.rows]


def groups(predictions: Floats) -> Iterator[SubmissionGroup]:
    """Yield the submissions of one era, shape (submissions, rows), NaN where missing, grouped by their rows."""
    present = ~np.isnan(predictions)
    complete = np.asarray(present.all(axis=1))
    if complete.all():
        yield SubmissionGroup(np.arange(len(predictions)), np.ones(predictions.shape[1], dtype=np.bool_), predictions)
        return
    by_rows: dict[bytes, list[int]] = {}
    for number, rows in enumerate(present):
        by_rows.setdefault(b"" if complete[number] else np.packbits(rows).tobytes(), []).append(number)
    for numbers in by_rows.values():
        rows = present[numbers[0]]
        if rows.any():
            columns = np.array(numbers)
            yield SubmissionGroup(columns, rows, np.ascontiguousarray(predictions[columns][:, rows]))
