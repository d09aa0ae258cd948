"""Convert the input of predict to a matrix of small integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .forest import HIGHEST, LOWEST
from .native import library

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_KINDS = "biuf"


def small_integers(data: Any, features: int, low: int, high: int) -> NDArray[np.int8] | None:
    """Return the int8 matrix [features, rows] of a DataFrame or a two-dimensional array [rows, features].

    Returns None if the library itself must predict: another type, another number of columns, no rows, or a value that
    is not a whole number in low..high, such as NaN. int8 in one block is not copied. Column names of a DataFrame are
    ignored.
    """
    import numpy as np  # noqa: PLC0415

    if not isinstance(data, np.ndarray):
        data = _values_of(data)
    if (
        data is None
        or type(data) is not np.ndarray
        or data.ndim != 2
        or data.shape[1] != features
        or not data.shape[0]
        or data.dtype.kind not in _KINDS
        or not data.dtype.isnative
        or not data.flags.aligned
    ):
        return None
    rows, columns = data.shape
    row_stride, column_stride = data.strides
    if data.dtype == np.int8:
        covers_int8 = low <= LOWEST and high >= HIGHEST
        arguments = (data.ctypes.data, rows, columns, row_stride, column_stride, low, high)
        return data.T if covers_int8 or library().trees_within(*arguments) == 0 else None
    matrix = np.empty((columns, rows), dtype=np.int8)
    failed = library().trees_convert(
        ord(data.dtype.kind),
        data.dtype.itemsize,
        data.ctypes.data,
        rows,
        columns,
        row_stride,
        column_stride,
        low,
        high,
        matrix.ctypes.data,
    )
    return None if failed else matrix


def _values_of(data: Any) -> Any:
    """Return the array of a DataFrame whose columns all have NumPy dtypes, or None; does not import pandas."""
    import sys  # noqa: PLC0415

    import numpy as np  # noqa: PLC0415

    pandas = sys.modules.get("pandas")
    if pandas is None or type(data) is not pandas.DataFrame:
        return None
    kinds = set(data.dtypes)
    if any(not isinstance(kind, np.dtype) or kind.kind not in _KINDS for kind in kinds):
        return None
    return data.to_numpy()
