"""The inverse of a Cholesky factor, found together with it, leaving out columns that follow from others."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd.scoring.metrics.ranks import Integers, Truths

Factors = NDArray[Any]

_BASE = 96
# Of a matrix whose diagonal is 1: below, a column follows from those before it; above, it certainly does not. What lies
# between could be either, given the rounding of the elimination.
_NOTHING = {"float64": 1e-11, "float32": 0.0}
_SOMETHING = {"float64": 1e-8, "float32": 1e-3}


class UnclearError(ArithmeticError):
    """It can't be told from this matrix, in this precision, whether a column follows from the others."""


def inverse_cholesky(matrix: Factors) -> tuple[Factors, Integers]:
    """The inverse W of the lower Cholesky factor of a positive semidefinite matrix with ones on its diagonal.

    `matrix` is used up. Columns that follow from those before them are left out: the answer is W, shape (kept, kept),
    and the positions kept, so that W'W is the inverse of that part of `matrix`. In float64 columns are left out, in
    float32 their likes raise UnclearError, as anything unclear does in both.
    """
    inverse = np.zeros_like(matrix)
    kept = np.ones(len(matrix), dtype=np.bool_)
    _halve(matrix, inverse, kept)
    if kept.all():
        return inverse, np.arange(len(matrix))
    positions = np.flatnonzero(kept)
    return inverse[np.ix_(positions, positions)], positions


def _halve(matrix: Factors, inverse: Factors, kept: Truths) -> None:
    """Fill the zeros of `inverse`; rows and columns of what is left out stay 0."""
    size = len(matrix)
    if size <= _BASE:
        _base(matrix, inverse, kept)
        return
    half = (size // 2 + 31) // 32 * 32
    first, second = slice(None, half), slice(half, None)
    _halve(matrix[first, first], inverse[first, first], kept[first])
    below = matrix[second, first] @ inverse[first, first].T
    rest = matrix[second, second]
    rest -= below @ below.T
    _halve(rest, inverse[second, second], kept[second])
    inverse[second, first] = -(inverse[second, second] @ (below @ inverse[first, first]))


def _base(matrix: Factors, inverse: Factors, kept: Truths) -> None:
    something = _SOMETHING[matrix.dtype.name]
    try:
        factor = np.linalg.cholesky(matrix)
        if not np.min(factor.diagonal() ** 2, initial=1.0) > something:
            factor = _eliminated(matrix, kept)
    except np.linalg.LinAlgError:
        factor = _eliminated(matrix, kept)
    inverse[:] = np.tril(np.linalg.inv(factor))
    inverse[~kept] = 0


def _eliminated(matrix: Factors, kept: Truths) -> Factors:
    """The Cholesky factor column by column; a column left out has a one on the diagonal and else zeros."""
    nothing, something = _NOTHING[matrix.dtype.name], _SOMETHING[matrix.dtype.name]
    factor = np.zeros_like(matrix)
    for column in range(len(matrix)):
        before = factor[column, :column]
        pivot = matrix[column, column] - before @ before
        if pivot > something:
            factor[column, column] = np.sqrt(pivot)
            under = slice(column + 1, None)
            factor[under, column] = (matrix[under, column] - factor[under, :column] @ before) / factor[column, column]
        elif pivot < nothing:
            factor[column, :column] = 0
            factor[column, column] = 1
            kept[column] = False
        else:
            raise UnclearError
    return factor
