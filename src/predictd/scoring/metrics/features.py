"""The features of one era as a matrix of columns by rows, multiplied with vectors a few columns at a time.

Features are whole numbers of one byte. Converted to float64 all at once they would be eight times as large, which costs
more than multiplying them; a few columns at a time stay in the processor's cache.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd.scoring.metrics.ranks import Floats, Integers, Truths

_CHUNK_BYTES = 3 << 19
_MANY_CHUNK_BYTES = 12 << 20
_MANY = 8


@dataclass(frozen=True, kw_only=True)
class FeatureMatrix:
    """Some features of one era.

    Attributes:
        values: shape (all features, rows), C-order, any real dtype and none missing; int8 as in mapped files.
        columns: positions in `values` of the features meant, ascending; None for all.
    """

    values: NDArray[Any]
    columns: Integers | None = None

    def __len__(self) -> int:
        return len(self.values) if self.columns is None else len(self.columns)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.values.shape[1])

    def only(self, positions: Integers) -> "FeatureMatrix":
        """Those features alone, by their positions among these."""
        chosen = positions if self.columns is None else self.columns[positions]
        whole = len(chosen) == len(self.values)
        return FeatureMatrix(values=self.values, columns=None if whole else chosen)

    def within(self, rows: Truths) -> "FeatureMatrix":
        """A copy that has those rows alone."""
        if rows.all():
            return self
        values = self.values if self.columns is None else self.values[self.columns]
        return FeatureMatrix(values=np.ascontiguousarray(values[:, rows]))

    def times(self, vectors: Floats) -> Floats:
        """The product of each vector with each feature: `vectors` (many, rows), answer (many, features)."""
        found = np.empty((len(vectors), len(self)))
        for begin, chunk in self.chunks(len(vectors)):
            found[:, begin : begin + len(chunk)] = vectors @ chunk.T
        return found

    def combined(self, weights: Floats) -> Floats:
        """The weighted sum of the features: `weights` (many, features), answer (many, rows)."""
        found = np.zeros((len(weights), self.rows))
        for begin, chunk in self.chunks(len(weights)):
            found += weights[:, begin : begin + len(chunk)] @ chunk
        return found

    def chunks(self, vectors: int = 1) -> Iterator[tuple[int, Floats]]:
        """The features as float64, some at a time, with the position of the first; valid until the next is asked for.

        `vectors` is how many each chunk will be multiplied with.
        """
        size = _MANY_CHUNK_BYTES if vectors >= _MANY else _CHUNK_BYTES
        step = min(max(1, size // (8 * max(1, self.rows))), max(1, len(self)))
        buffer = np.empty((step, self.rows))
        for begin in range(0, len(self), step):
            end = min(begin + step, len(self))
            chunk = buffer[: end - begin]
            np.copyto(chunk, self.values[begin:end] if self.columns is None else self.values[self.columns[begin:end]])
            yield begin, chunk

    def moments(self) -> tuple[Floats, Floats]:
        """Mean and length of each feature less its mean, shape (features,) each; the length of a constant is 0."""
        means, lengths = np.empty(len(self)), np.empty(len(self))
        for begin, chunk in self.chunks():
            part = slice(begin, begin + len(chunk))
            means[part] = chunk.mean(axis=1)
            constant = chunk.max(axis=1) == chunk.min(axis=1)
            centred = chunk - means[part, None]
            lengths[part] = np.where(constant, 0.0, np.sqrt(np.einsum("ij,ij->i", centred, centred)))
        return means, lengths
