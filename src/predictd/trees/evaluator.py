"""Sums of a forest for many rows, by its tables."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from .compiled import verify
from .errors import TablesError
from .native import library, path_number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .compiled import Buffer

_ALIGNMENT = 8


class _Header(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("features", "outputs", "trees", "masks", "runs", "single")),
        ("low", ctypes.c_int32),
        ("high", ctypes.c_int32),
    )


class Evaluator:
    """Evaluates one model by its tables (of `compile_forest`), which are checked here, once.

    With a `fingerprint`, tables of another model are refused. `path` forces a way to evaluate (`native.paths()`); all
    give equal bits. Raises TablesError for damaged tables, NativeError where the compiled library is missing.
    """

    def __init__(self, tables: Buffer, *, fingerprint: bytes | None = None, path: str | None = None) -> None:
        import numpy as np  # noqa: PLC0415

        self._library = library()
        self._path = path_number(path)
        self.tables = tables
        body = np.frombuffer(verify(tables, fingerprint), dtype=np.uint8)
        if body.ctypes.data % _ALIGNMENT:
            room = np.empty(len(body) + 63, dtype=np.uint8)
            at = -room.ctypes.data % 64
            room[at : at + len(body)] = body
            body = room[at : at + len(body)]
        self._body = body
        wrong = self._library.trees_check(body.ctypes.data, len(body))
        if wrong is not None:
            raise TablesError(f"The tables of trees are damaged: {wrong.decode()}.")
        header = _Header.from_address(body.ctypes.data)
        self.features: int = header.features
        self.outputs: int = header.outputs
        self.trees: int = header.trees
        self.low: int = header.low
        self.high: int = header.high
        self.single = bool(header.single)

    def sums(self, matrix: NDArray[np.int8]) -> NDArray[np.floating]:
        """The sums [rows, outputs] of a matrix [features, rows]; float32 for a model that sums so, else float64.

        Every value must lie in `low`..`high` (as `matrix.small_integers` ensures). It is fastest when each column's
        values lie side by side; a transposed view of a row-major matrix works too. Releases the interpreter's lock.
        """
        import numpy as np  # noqa: PLC0415

        if matrix.dtype != np.int8 or matrix.ndim != 2 or matrix.shape[0] != self.features:
            raise ValueError(f"the matrix must be int8 of shape ({self.features}, rows), not {matrix.shape}")
        rows = matrix.shape[1]
        out = np.empty((self.outputs, rows), dtype=np.float32 if self.single else np.float64)
        column_stride, row_stride = matrix.strides
        failed = self._library.trees_evaluate(
            self._body.ctypes.data, self._path, matrix.ctypes.data, rows, row_stride, column_stride, out.ctypes.data
        )
        if failed:
            raise MemoryError(f"not enough memory to evaluate {self.trees} trees")
        return out.T
