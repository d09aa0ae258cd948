"""The features of one era as a matrix of columns by rows, multiplied with vectors in chunks of columns.

Features are one-byte integers. Converting all of them to float64 would take eight times the memory and more time than
the multiplication; chunks stay in the processor's cache.
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
        values: shape (all features, rows), C-order, any real dtype without missing values; int8 in mapped files.
        columns: positions of the features in `values`, ascending; None for all.
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
        """Return those of these features, by position."""
        chosen = positions if self.columns is None else self.columns[positions]
        is_all = len(chosen) == len(self.values)
        return FeatureMatrix(values=self.values, columns=None if is_all else chosen)

    def within(self, rows: Truths) -> "FeatureMatrix":
        """Return a copy with only those rows."""
        if rows.all():
            return self
        values = self.values if self.columns is None else self.values[self.columns]
        return FeatureMatrix(values=np.ascontiguousarray(values[:, rows]))

    def times(self, vectors: Floats) -> Floats:
        """Return the product of each vector with each feature: `vectors` (vectors, rows), result (vectors,
        features).
        """
        products = np.empty((len(vectors), len(self)))
        for begin, chunk in self.chunks(len(vectors)):
            products[:, begin : begin + len(chunk)] = vectors @ chunk.T
        return products

    def combined(self, weights: Floats) -> Floats:
        """Return the weighted sums of the features: `weights` (vectors, features), result (vectors, rows)."""
        sums = np.zeros((len(weights), self.rows))
        for begin, chunk in self.chunks(len(weights)):
            sums += weights[:, begin : begin + len(chunk)] @ chunk
        return sums

    def chunks(self, vectors: int = 1) -> Iterator[tuple[int, Floats]]:
        """Yield chunks of features as float64 with the position of the first; valid until the next chunk.

        `vectors` is the number of vectors to multiply with each chunk.
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
        """Return the mean and the centered length of each feature, shape (features,) each; the length of a constant is
        0.
        """
        means, lengths = np.empty(len(self)), np.empty(len(self))
        for begin, chunk in self.chunks():
            part = slice(begin, begin + len(chunk))
            means[part] = chunk.mean(axis=1)
            constant = chunk.max(axis=1) == chunk.min(axis=1)
            centered = chunk - means[part, None]
            lengths[part] = np.where(constant, 0.0, np.sqrt(np.einsum("ij,ij->i", centered, centered)))
        return means, lengths
