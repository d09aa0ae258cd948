"""Compute the inverse of a Cholesky factor together with it, without linearly dependent columns."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd.scoring.metrics.ranks import Integers, Truths

Factors = NDArray[Any]

_BASE = 96
# Pivots of a matrix with ones on its diagonal: below _DEPENDENT, a column depends on those before it; above
# _INDEPENDENT, it does not. In between, rounding makes it unclear.
_DEPENDENT = {"float64": 1e-11, "float32": 0.0}
_INDEPENDENT = {"float64": 1e-8, "float32": 1e-3}


class UnclearError(ArithmeticError):
    """This matrix in this precision does not show whether a column depends on the others."""


def inverse_cholesky(matrix: Factors) -> tuple[Factors, Integers]:
    """Return the inverse W of the lower Cholesky factor of a positive semidefinite matrix with ones on its diagonal.

    `matrix` is overwritten. Columns that depend on those before them are dropped: returns W, shape (columns, columns),
    and the positions of its columns, so that W'W is the inverse of that part of `matrix`. In float32, dependent columns
    raise UnclearError instead, and unclear columns raise it in both.
    """
    inverse = np.zeros_like(matrix)
    is_independent = np.ones(len(matrix), dtype=np.bool_)
    _halve(matrix, inverse, is_independent)
    if is_independent.all():
        return inverse, np.arange(len(matrix))
    positions = np.flatnonzero(is_independent)
    return inverse[np.ix_(positions, positions)], positions


def _halve(matrix: Factors, inverse: Factors, is_independent: Truths) -> None:
    """Fill the zeros of `inverse`; rows and columns of dropped columns stay 0."""
    size = len(matrix)
    if size <= _BASE:
        _base(matrix, inverse, is_independent)
        return
    half = (size // 2 + 31) // 32 * 32
    first, second = slice(None, half), slice(half, None)
    _halve(matrix[first, first], inverse[first, first], is_independent[first])
    below = matrix[second, first] @ inverse[first, first].T
    rest = matrix[second, second]
    rest -= below @ below.T
    _halve(rest, inverse[second, second], is_independent[second])
    inverse[second, first] = -(inverse[second, second] @ (below @ inverse[first, first]))


def _base(matrix: Factors, inverse: Factors, is_independent: Truths) -> None:
    threshold = _INDEPENDENT[matrix.dtype.name]
    try:
        factor = np.linalg.cholesky(matrix)
        if not np.min(factor.diagonal() ** 2, initial=1.0) > threshold:
            factor = _eliminated(matrix, is_independent)
    except np.linalg.LinAlgError:
        factor = _eliminated(matrix, is_independent)
    inverse[:] = np.tril(np.linalg.inv(factor))
    inverse[~is_independent] = 0


def _eliminated(matrix: Factors, is_independent: Truths) -> Factors:
    """Return the Cholesky factor column by column; a dropped column has a one on the diagonal and zeros elsewhere."""
    dependent, independent = _DEPENDENT[matrix.dtype.name], _INDEPENDENT[matrix.dtype.name]
    factor = np.zeros_like(matrix)
    for column in range(len(matrix)):
        row = factor[column, :column]
        pivot = matrix[column, column] - row @ row
        if pivot > independent:
            factor[column, column] = np.sqrt(pivot)
            under = slice(column + 1, None)
            factor[under, column] = (matrix[under, column] - factor[under, :column] @ row) / factor[column, column]
        elif pivot < dependent:
            factor[column, :column] = 0
            factor[column, column] = 1
            is_independent[column] = False
        else:
            raise UnclearError
    return factor
