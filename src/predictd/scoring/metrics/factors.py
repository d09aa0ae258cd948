"""The factor to neutralize predictions to the features of one era, computed once for all submissions.

The projection onto the features uses their Gram matrix. Its inverse need not be exact: residuals are refined until they
converge, which also verifies them. numerai-tools determines the rank by singular values above 1e-6 of the largest;
where the Gram matrix is unclear, these are computed.
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

MIN_SINGULAR = 1e-6
"""Singular values below this fraction of the largest count as 0, as in numerai-tools' least squares."""

_MARGIN = 30.0
_EXACT_IN_FLOAT32 = 1 << 24
_MANY_FEATURES = 256
_CONVERGED = 1e-14
_STEPS = 12
_MAX_RATE = 0.5
_TILE = 256


class NotConvergedError(ArithmeticError):
    """Refining a residual did not converge: the factor belongs to other features."""


@dataclass(frozen=True, kw_only=True)
class GramFactor:
    """The independent features, and the inverse of their scaled Gram matrix's Cholesky factor.

    Attributes:
        means: of all features, shape (features,).
        lengths: of all features minus their mean, shape (features,); 0 for a constant.
        columns: positions of the independent features, ascending, shape (columns,).
        tiles: the lower triangle of the inverse factor for those features centered and scaled to length 1; consecutive
            blocks of 256 rows, each as wide as its last diagonal element; float32, one dimension.
        rows: of the era.
    """

    means: Floats
    lengths: Floats
    columns: Integers
    tiles: Factors
    rows: int

    def residual(self, features: FeatureMatrix, vectors: Floats) -> Floats:
        """Return the residuals of `vectors` (vectors, rows) after the features and a constant, to about 1e-14 of their
        length.

        Raises NotConvergedError if the factor belongs to other features.
        """
        if features.rows != self.rows or len(features) != len(self.means):
            raise NotConvergedError
        independent = features.only(self.columns)
        lengths = self.lengths[self.columns]
        residual = np.asarray(vectors - vectors.mean(axis=1, keepdims=True))
        if not len(self.columns):
            return residual
        initial_lengths = np.sqrt(np.einsum("ij,ij->i", residual, residual))
        sizes: list[float] = []
        while len(sizes) < _STEPS:
            change = independent.combined(self.solved(independent.times(residual) / lengths) / lengths)
            change -= change.mean(axis=1, keepdims=True)
            residual -= change
            sizes.append(_largest(change, initial_lengths))
            if sizes[-1] < _CONVERGED:
                return residual
            if len(sizes) > 1:
                rate = sizes[-1] / sizes[-2]
                if rate > _MAX_RATE:
                    break
                if sizes[-1] * rate < _CONVERGED:  # each step reduces the error by about the same factor
                    return residual
        raise NotConvergedError

    def solved(self, products: Floats) -> Floats:
        """Apply the scaled Gram matrix's inverse to each of `products`, shape (vectors, columns)."""
        narrow = products.astype(self.tiles.dtype)
        solution = np.zeros_like(narrow)
        for end, tile in _tiles(self.tiles, len(self.columns)):
            solution[:, :end] += (narrow[:, :end] @ tile.T) @ tile
        return np.asarray(solution, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class SpanFactor:
    """An orthonormal basis of the span of the features and a constant: for few rows, and nearly equal features.

    Attributes:
        means: of all features, shape (features,).
        lengths: of all features minus their mean, shape (features,); 0 for a constant.
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
        """Return the residuals of `vectors` (vectors, rows) after the features and a constant; 0 if they span all rows.

        Raises NotConvergedError if the factor belongs to other features.
        """
        if self.basis.shape[1] != features.rows or len(features) != len(self.means):
            raise NotConvergedError
        if len(self.basis) == features.rows:
            return np.zeros_like(vectors)
        residual = vectors - (vectors @ self.basis.T) @ self.basis
        return np.asarray(residual - (residual @ self.basis.T) @ self.basis)


Factor = GramFactor | SpanFactor


def factor_of(features: FeatureMatrix) -> Factor:
    """Return the factor of an era's features; for 2748 features and 5,500 rows about 0.5 s and 250 MB."""
    if len(features) + 1 < features.rows:
        moments, gram = _gram(features)
        varying = np.flatnonzero(moments.lengths > 0)
        for dtype in (np.float32, np.float64) if len(varying) >= _MANY_FEATURES else (np.float64,):
            factor = _gram_factor(features, moments, gram, varying, dtype)
            if factor is not None:
                return factor
    return span_factor(features)


def span_factor(features: FeatureMatrix) -> SpanFactor:
    """Return the factor by singular values, as numerai-tools' least squares; slow for thousands of features."""
    means, lengths = features.moments()
    values = features.values if features.columns is None else features.values[features.columns]
    design = np.concatenate([values.astype(np.float64), np.ones((1, features.rows))])
    if len(design) >= features.rows and _spans_all(design):
        return SpanFactor(means=means, lengths=lengths, basis=np.eye(features.rows))
    _, sizes, basis = np.linalg.svd(design, full_matrices=False)
    return SpanFactor(means=means, lengths=lengths, basis=np.ascontiguousarray(basis[sizes > MIN_SINGULAR * sizes[0]]))


def _spans_all(design: Floats) -> bool:
    """Return whether the features certainly span as many dimensions as there are rows, so residuals are 0.

    The eigenvalues of the row products are the squared singular values; their trace is at least the largest.
    """
    products = design.T @ design
    products[np.diag_indices_from(products)] -= (_MARGIN * MIN_SINGULAR) ** 2 * np.trace(products)
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
    """Frobenius norm of features and constant: at least the largest singular value."""


def _gram(features: FeatureMatrix) -> tuple[_Moments, Factors]:
    """Return moments, and products of all pairs of shifted features, which are exact for whole numbers."""
    count, rows = len(features), features.rows
    values = features.values if features.columns is None else features.values[features.columns]
    is_integer = values.dtype.kind in "iu"
    peak = float(max(values.max(initial=0), -float(values.min(initial=0))))
    fits_float32 = is_integer and rows * (2 * peak) ** 2 < _EXACT_IN_FLOAT32
    shifted: Factors = values.astype(np.float32 if fits_float32 else np.float64)
    means = np.empty(count)
    means[:] = shifted @ np.ones(rows, dtype=shifted.dtype) if fits_float32 else shifted.sum(axis=1)
    means /= rows
    shifts = np.rint(means) if is_integer else means.copy()
    shifted -= shifts.astype(shifted.dtype)[:, None]
    gram = shifted @ shifted.T
    squares = gram.diagonal().astype(np.float64)
    offsets = means - shifts
    spread = squares - rows * offsets**2
    # For a constant only rounding remains; whole numbers that vary do so by much more.
    rounding = np.maximum(1e-11 * squares, 1e-25 * rows * means**2)
    lengths = np.sqrt(np.where(spread > rounding, spread, 0.0))
    size = float(np.sqrt(np.sum(spread + rows * means**2) + rows))
    return _Moments(means=means, lengths=lengths, shifts=shifts, size=size), gram


def _gram_factor(
    features: FeatureMatrix, moments: _Moments, gram: Factors, varying: Integers, dtype: type[np.floating[Any]]
) -> GramFactor | None:
    """Return the factor from the Gram matrix, or None if it is unclear which features depend on others."""
    scaled = gram if len(varying) == len(gram) else gram[np.ix_(varying, varying)]
    scaled = scaled.astype(dtype)
    offsets = ((moments.means - moments.shifts) * np.sqrt(features.rows))[varying].astype(dtype)
    lengths = moments.lengths[varying].astype(dtype)
    for start in range(0, len(varying), _TILE):
        part = slice(start, start + _TILE)
        scaled[part] -= offsets[part, None] * offsets
        scaled[part] /= lengths[part, None] * lengths
    try:
        inverse, independent = inverse_cholesky(scaled)
    except UnclearError:
        return None
    columns = varying[independent]
    factor = GramFactor(
        means=moments.means,
        lengths=moments.lengths,
        columns=columns,
        tiles=_packed(inverse.astype(np.float32)),
        rows=features.rows,
    )
    return factor if _smallest(factor) > _MARGIN * MIN_SINGULAR * moments.size else None


def _smallest(factor: GramFactor) -> float:
    """Estimate the smallest singular value of the independent features, not centered, and a constant.

    Inverse iteration converges from above and is soon within a small factor.
    """
    means, lengths = factor.means[factor.columns], factor.lengths[factor.columns]
    weights = np.random.default_rng(0).standard_normal((2, len(means) + 1))
    estimate = np.inf
    for _ in range(6):
        weights /= np.sqrt(np.einsum("ij,ij->i", weights, weights))[:, None]
        constant = weights[:, -1:]
        solved = factor.solved((weights[:, :-1] - constant * means) / lengths) / lengths
        weights = np.concatenate([solved, constant / factor.rows - (solved @ means)[:, None]], axis=1)
        estimate = min(estimate, float(np.max(np.einsum("ij,ij->i", weights, weights))) ** -0.25)
    return estimate


def _largest(changes: Floats, lengths: Floats) -> float:
    """Return the largest ratio of the lengths of changes and wholes."""
    change_lengths = np.sqrt(np.einsum("ij,ij->i", changes, changes))
    return float(np.max(change_lengths[lengths > 0] / lengths[lengths > 0], initial=0.0))


def _packed(inverse: Factors) -> Factors:
    """Return the lower triangle in tiles, as stored in GramFactor."""
    count = len(inverse)
    tiles = [inverse[begin : begin + _TILE, : begin + _TILE].ravel() for begin in range(0, count, _TILE)]
    return np.concatenate(tiles) if tiles else np.empty(0, inverse.dtype)


def _tiles(packed: Factors, count: int) -> Iterator[tuple[int, Factors]]:
    """Yield each tile with its width."""
    offset = 0
    for begin in range(0, count, _TILE):
        end = min(begin + _TILE, count)
        size = (end - begin) * end
        yield end, packed[offset : offset + size].reshape(end - begin, end)
        offset += size
