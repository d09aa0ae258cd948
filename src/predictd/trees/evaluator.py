"""Evaluate the tables of a forest for many rows."""

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
    """Evaluates one model from its tables (see `compile_forest`), which are verified once, here.

    With a `fingerprint`, tables of another model are rejected. `path` selects a code path (see `native.paths()`); all
    return the same bits. Raises TablesError for damaged tables, NativeError if the compiled library is missing.
    """

    def __init__(self, tables: Buffer, *, fingerprint: bytes | None = None, path: str | None = None) -> None:
        import numpy as np  # noqa: PLC0415

        self._library = library()
        self._path = path_number(path)
        self.tables = tables
        body = np.frombuffer(verify(tables, fingerprint), dtype=np.uint8)
        if body.ctypes.data % _ALIGNMENT:
            aligned = np.empty(len(body) + 63, dtype=np.uint8)
            offset = -aligned.ctypes.data % 64
            aligned[offset : offset + len(body)] = body
            body = aligned[offset : offset + len(body)]
        self._body = body
        error = self._library.trees_check(body.ctypes.data, len(body))
        if error is not None:
            raise TablesError(f"The tree tables are damaged: {error.decode()}.")
        header = _Header.from_address(body.ctypes.data)
        self.features: int = header.features
        self.outputs: int = header.outputs
        self.trees: int = header.trees
        self.low: int = header.low
        self.high: int = header.high
        self.single = bool(header.single)

    def sums(self, matrix: NDArray[np.int8]) -> NDArray[np.floating]:
        """Return the sums [rows, outputs] of a matrix [features, rows]; float32 for a single-precision model, else
        float64.

        Every value must be in `low`..`high` (as `matrix.small_integers` ensures). Contiguous columns are fastest; a
        transposed view of a row-major matrix works too. Releases the GIL.
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
