"""The features of a mapped data file by era, without pandas; docs/contributors/mapped-data.md describes the format."""

import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd.domain.errors import InvalidInputError
from predictd.runner.mapped import block_offsets, read_header
from predictd.scoring.metrics.ranks import Integers


class MappedFeatures:
    """Columns of one dtype of a mapped file: `values(i)` are those of its i-th block, which is an era.

    Attributes:
        names: of the columns, in the order of the matrices.
        bounds: the first row of each block and the number of rows, shape (blocks + 1,).
    """

    def __init__(self, path: Path, dtype: str = "int8") -> None:
        """Open a mapped file; its matrices are mapped read-only, one block at a time.

        Raises InvalidInputError if the file is not mapped or has no columns of that dtype, DamagedFileError.
        """
        with path.open("rb") as file:
            header = read_header(file)
            if header is None or header["kind"] != "mapped":
                raise InvalidInputError(f"{path.name} is not a mapped file of numbers. Convert the parquet file first.")
            self._descriptor = os.dup(file.fileno())
            matching = [number for number, group in enumerate(header["groups"]) if np.dtype(group["dtype"]) == dtype]
            if not matching:
                raise InvalidInputError(f"{path.name} has no columns of dtype {dtype}, so it has no features.")
            self._group = matching[0]
            self._dtype = np.dtype(header["groups"][self._group]["dtype"])
            runs = header["groups"][self._group]["runs"]
            self.names: Sequence[str] = [name for start, stop in runs for name in header["columns"][start:stop]]
            self.bounds: Integers = np.array(header["bounds"], dtype=np.intp)
            self._offsets = [offsets[self._group] for offsets in block_offsets(header)]
            self._order: NDArray[np.int64] | None = None
            if header["order"] is not None:
                begin, length = header["order"]
                self._order = np.frombuffer(os.pread(self._descriptor, length, begin), dtype="<i8")

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def rows(self, number: int) -> Integers:
        """Return the positions in the parquet file of a block's rows, shape (rows,)."""
        start, stop = self.bounds[number], self.bounds[number + 1]
        return np.arange(start, stop) if self._order is None else self._order[start:stop]

    def values(self, number: int) -> NDArray[Any]:
        """Return the matrix of a block, shape (columns, rows), read-only; its pages are released with it."""
        rows = int(self.bounds[number + 1] - self.bounds[number])
        length = rows * len(self.names) * self._dtype.itemsize
        if not length:
            return np.empty((len(self.names), rows), self._dtype)
        offset = self._offsets[number]
        begin = offset - offset % mmap.ALLOCATIONGRANULARITY
        memory = mmap.mmap(self._descriptor, offset + length - begin, access=mmap.ACCESS_READ, offset=begin)
        return np.frombuffer(memory, self._dtype, rows * len(self.names), offset - begin).reshape(-1, rows)
