"""What it takes to neutralise predictions to the features of one era, found once and kept for all submissions.

The projection onto the features goes through their Gram matrix. Its inverse need not be exact: residuals are refined
until they don't change any more, which also proves them right. What spans less than all features, numerai-tools decides
by singular values above 1e-6 of the largest; where the Gram matrix can't tell, these are computed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd.scoring.metrics.cholesky import UnclearError, inverse_cholesky
from predictd.scoring.metrics.features import FeatureMatrix
from predictd.scoring.metrics.ranks import Floats, Integers

Factors = NDArray[Any]

SMALLEST = 1e-6
"""Singular values below this part of the largest count as none, as in numerai-tools' least squares."""

_CLEARLY = 30.0
_EXACT_IN_FLOAT32 = 1 << 24
_LARGE = 256
_CHANGE = 1e-14
_STEPS = 12
_SLOWEST = 0.5
_TILE = 256


class NotConvergedError(ArithmeticError):
    """Refining a residual did not end: the factor is not that of these features."""


@dataclass(frozen=True, kw_only=True)
class GramFactor:
    """The features that don't follow from others, and the inverse of their scaled Gram matrix's Cholesky factor.

    Attributes:
        means: of all features, shape (features,).
        lengths: of all features less their mean, shape (features,); 0 for a constant.
        columns: positions of the features kept, ascending, shape (kept,).
        tiles: the lower triangle of the inverse factor, of those features less their means and at length 1; rows of
            256 after one another, each as wide as its last diagonal element; float32, one dimension.
        rows: of the era.
    """

    means: Floats
    lengths: Floats
    columns: Integers
    tiles: Factors
    rows: int

    def residual(self, features: FeatureMatrix, vectors: Floats) -> Floats:
        """What is left of `vectors` (many, rows) beside the features and a constant, to about 1e-14 of their length.

        Raises NotConvergedError if this is the factor of other features.
        """
        if features.rows != self.rows or len(features) != len(self.means):
            raise NotConvergedError
        kept = features.only(self.columns)
        lengths = self.lengths[self.columns]
        left = np.asarray(vectors - vectors.mean(axis=1, keepdims=True))
        if not len(self.columns):
            return left
        whole = np.sqrt(np.einsum("ij,ij->i", left, left))
        sizes: list[float] = []
        while len(sizes) < _STEPS:
            change = kept.combined(self.solved(kept.times(left) / lengths) / lengths)
            change -= change.mean(axis=1, keepdims=True)
            left -= change
            sizes.append(_largest(change, whole))
            if sizes[-1] < _CHANGE:
                return left
            if len(sizes) > 1:
                rate = sizes[-1] / sizes[-2]
                if rate > _SLOWEST:
                    break
                if sizes[-1] * rate < _CHANGE:  # each step makes what is missing smaller by about the same factor
                    return left
        raise NotConvergedError

    def solved(self, products: Floats) -> Floats:
        """The scaled Gram matrix's inverse applied to each of `products`, shape (many, kept)."""
        narrow = products.astype(self.tiles.dtype)
        found = np.zeros_like(narrow)
        for end, tile in _tiles(self.tiles, len(self.columns)):
            found[:, :end] += (narrow[:, :end] @ tile.T) @ tile
        return np.asarray(found, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class SpanFactor:
    """An orthonormal basis of what the features and a constant span: for few rows, and where features nearly coincide.

    Attributes:
        means: of all features, shape (features,).
        lengths: of all features less their mean, shape (features,); 0 for a constant.
        basis: shape (rank, rows).
    """

    means: Floats
    lengths: Floats
    basis: Floats

    @property
    def rows(self) -> int:
        """Rows of the era."""
        return int(self.basis.shape[1])

    def residual(self, features: FeatureMatrix, vectors: Floats) -> Floats:
        """What is left of `vectors` (many, rows) beside the features and a constant; nothing if they span all rows.

        Raises NotConvergedError if this is the factor of other features.
        """
        if self.basis.shape[1] != features.rows or len(features) != len(self.means):
            raise NotConvergedError
        if len(self.basis) == features.rows:
            return np.zeros_like(vectors)
        left = vectors - (vectors @ self.basis.T) @ self.basis
        return np.asarray(left - (left @ self.basis.T) @ self.basis)


Factor = GramFactor | SpanFactor


def factor_of(features: FeatureMatrix) -> Factor:
    """The factor of an era's features; for 2748 of 5,500 rows some 0.5 s and 250 MB."""
    if len(features) + 1 < features.rows:
        moments, gram = _gram(features)
        varied = np.flatnonzero(moments.lengths > 0)
        for dtype in (np.float32, np.float64) if len(varied) >= _LARGE else (np.float64,):
            factor = _gram_factor(features, moments, gram, varied, dtype)
            if factor is not None:
                return factor
    return span_factor(features)


def span_factor(features: FeatureMatrix) -> SpanFactor:
    """The factor by singular values, as the least squares of numerai-tools decide; slow for thousands of features."""
    means, lengths = features.moments()
    values = features.values if features.columns is None else features.values[features.columns]
    design = np.concatenate([values.astype(np.float64), np.ones((1, features.rows))])
    if len(design) >= features.rows and _spans_all(design):
        return SpanFactor(means=means, lengths=lengths, basis=np.eye(features.rows))
    _, sizes, basis = np.linalg.svd(design, full_matrices=False)
    return SpanFactor(means=means, lengths=lengths, basis=np.ascontiguousarray(basis[sizes > SMALLEST * sizes[0]]))


def _spans_all(design: Floats) -> bool:
    """Whether the features surely span as many dimensions as there are rows, which leaves nothing beside them.

    The products of the rows have the squares of the singular values; their trace is at least the largest of these.
    """
    products = design.T @ design
    products[np.diag_indices_from(products)] -= (_CLEARLY * SMALLEST) ** 2 * np.trace(products)
    try:
        np.linalg.cholesky(products)
    except np.linalg.LinAlgError:
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class _Moments:
    means: Floats
    lengths: Floats
    shifts: Floats = field(repr=False)
    """A whole number near the mean of each feature."""
    size: float
    """Root of the sum of all squares of features and constant: at least the largest singular value."""


def _gram(features: FeatureMatrix) -> tuple[_Moments, Factors]:
    """Moments, and the products of all pairs of features less their shift: exact where features are whole numbers."""
    count, rows = len(features), features.rows
    values = features.values if features.columns is None else features.values[features.columns]
    whole = values.dtype.kind in "iu"
    peak = float(max(values.max(initial=0), -float(values.min(initial=0))))
    narrow = whole and rows * (2 * peak) ** 2 < _EXACT_IN_FLOAT32
    shifted: Factors = values.astype(np.float32 if narrow else np.float64)
    means = np.empty(count)
    means[:] = shifted @ np.ones(rows, dtype=shifted.dtype) if narrow else shifted.sum(axis=1)
    means /= rows
    shifts = np.rint(means) if whole else means.copy()
    shifted -= shifts.astype(shifted.dtype)[:, None]
    gram = shifted @ shifted.T
    squares = gram.diagonal().astype(np.float64)
    off = means - shifts
    spread = squares - rows * off**2
    # What remains of a constant is rounding; whole numbers that vary do so by much more.
    rounding = np.maximum(1e-11 * squares, 1e-25 * rows * means**2)
    lengths = np.sqrt(np.where(spread > rounding, spread, 0.0))
    size = float(np.sqrt(np.sum(spread + rows * means**2) + rows))
    return _Moments(means=means, lengths=lengths, shifts=shifts, size=size), gram


def _gram_factor(
    features: FeatureMatrix, moments: _Moments, gram: Factors, varied: Integers, dtype: type[np.floating[Any]]
) -> GramFactor | None:
    """The factor by way of the Gram matrix; None if it is not clear which features follow from others."""
    scaled = gram if len(varied) == len(gram) else gram[np.ix_(varied, varied)]
    scaled = scaled.astype(dtype)
    off = ((moments.means - moments.shifts) * np.sqrt(features.rows))[varied].astype(dtype)
    lengths = moments.lengths[varied].astype(dtype)
    for begin in range(0, len(varied), _TILE):
        part = slice(begin, begin + _TILE)
        scaled[part] -= off[part, None] * off
        scaled[part] /= lengths[part, None] * lengths
    try:
        inverse, kept = inverse_cholesky(scaled)
    except UnclearError:
        return None
    columns = varied[kept]
    factor = GramFactor(
        means=moments.means,
        lengths=moments.lengths,
        columns=columns,
        tiles=_packed(inverse.astype(np.float32)),
        rows=features.rows,
    )
    return factor if _smallest(factor) > _CLEARLY * SMALLEST * moments.size else None


def _smallest(factor: GramFactor) -> float:
    """About the smallest singular value of the features kept, their means not taken off, beside a constant.

    By inverse iteration, which comes from above and is soon within a few times of it.
    """
    means, lengths = factor.means[factor.columns], factor.lengths[factor.columns]
    weights = np.random.default_rng(0).standard_normal((2, len(means) + 1))
    found = np.inf
    for _ in range(6):
        weights /= np.sqrt(np.einsum("ij,ij->i", weights, weights))[:, None]
        constant = weights[:, -1:]
        solved = factor.solved((weights[:, :-1] - constant * means) / lengths) / lengths
        weights = np.concatenate([solved, constant / factor.rows - (solved @ means)[:, None]], axis=1)
        found = min(found, float(np.max(np.einsum("ij,ij->i", weights, weights))) ** -0.25)
    return found


def _largest(changes: Floats, wholes: Floats) -> float:
    """The largest part that a change is of the whole, by their lengths."""
    sizes = np.sqrt(np.einsum("ij,ij->i", changes, changes))
    return float(np.max(sizes[wholes > 0] / wholes[wholes > 0], initial=0.0))


def _packed(inverse: Factors) -> Factors:
    """The lower triangle in tiles, as GramFactor keeps it."""
    count = len(inverse)
    tiles = [inverse[begin : begin + _TILE, : begin + _TILE].ravel() for begin in range(0, count, _TILE)]
    return np.concatenate(tiles) if tiles else np.empty(0, inverse.dtype)


def _tiles(packed: Factors, count: int) -> Iterator[tuple[int, Factors]]:
    """Each tile with its width."""
    offset = 0
    for begin in range(0, count, _TILE):
        end = min(begin + _TILE, count)
        size = (end - begin) * end
        yield end, packed[offset : offset + size].reshape(end - begin, end)
        offset += size
