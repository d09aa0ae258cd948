"""Write parquet files like pandas: `pandas.read_parquet` restores the index `id`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

INDEX = "id"
_TEXT = ("era", "data_type", INDEX)
_PANDAS_TYPES = {
    pa.string(): ("unicode", "object"),
    pa.int8(): ("int8", "int8"),
    pa.float32(): ("float32", "float32"),
    pa.float64(): ("float64", "float64"),
}


class TableFile:
    """Writes a parquet file in parts, which are collected into row groups of at least `row_group_rows`.

    A row group of 2748 columns costs tens of milliseconds and about 300 kB of footer regardless of its rows, so small
    row groups are inefficient; collected parts stay in memory until their row group is written.
    """

    def __init__(self, path: Path, columns: Mapping[str, pa.DataType], *, row_group_rows: int) -> None:
        fields = [pa.field(name, kind) for name, kind in columns.items()] + [pa.field(INDEX, pa.string())]
        self._schema = pa.schema(fields, metadata={"pandas": _pandas_metadata(columns)})
        self._row_group_rows = row_group_rows
        self._parts: list[pa.Table] = []
        self._rows = 0
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            compression="zstd",
            # Few distinct values take 3 bits each in a dictionary; distinct floats would only take more space.
            use_dictionary=[
                name for name in self._schema.names if name != INDEX and _is_repetitive(columns[name], name)
            ],
            # Readers that filter by era use these; statistics of features would only triple the footer.
            write_statistics=[name for name in ("era", "data_type") if name in columns],
        )

    def write(self, ids: Sequence[str], values: Sequence[Sequence[str] | NDArray[Any]]) -> None:
        """Append rows: one array per column in column order, each as long as `ids`; NaN becomes null."""
        arrays = [
            pa.array(column, type=field.type, from_pandas=True)
            for column, field in zip([*values, ids], self._schema, strict=True)
        ]
        self._parts.append(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows += len(ids)
        if self._rows >= self._row_group_rows:
            self._flush()

    def _flush(self) -> None:
        if self._parts:
            self._writer.write_table(pa.concat_tables(self._parts), row_group_size=self._rows)
        self._parts, self._rows = [], 0

    def close(self) -> None:
        """Write the collected rows and the footer."""
        self._flush()
        self._writer.close()

    def __enter__(self) -> "TableFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._writer.close()


def write_table(path: Path, ids: Sequence[str], columns: Mapping[str, Sequence[str] | NDArray[Any]]) -> None:
    """Write a whole file: string sequences as strings, arrays with their dtype."""
    kinds = {
        name: pa.from_numpy_dtype(values.dtype) if isinstance(values, np.ndarray) else pa.string()
        for name, values in columns.items()
    }
    with TableFile(path, kinds, row_group_rows=max(len(ids), 1)) as file:
        file.write(ids, list(columns.values()))


def _is_repetitive(kind: pa.DataType, name: str) -> bool:
    return bool(kind == pa.int8()) or name in _TEXT or name.startswith("target")


def _pandas_metadata(columns: Mapping[str, pa.DataType]) -> bytes:
    """Return metadata that makes `id` the index in pandas 1.x to 3.x."""

    def entry(name: str, kind: pa.DataType) -> dict[str, object]:
        pandas_type, numpy_type = _PANDAS_TYPES[kind]
        return {
            "name": name,
            "field_name": name,
            "pandas_type": pandas_type,
            "numpy_type": numpy_type,
            "metadata": None,
        }

    names = {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object"}
    return json.dumps(
        {
            "index_columns": [INDEX],
            "column_indexes": [{**names, "metadata": {"encoding": "UTF-8"}}],
            "columns": [entry(name, kind) for name, kind in columns.items()] + [entry(INDEX, pa.string())],
            "creator": {"library": "pyarrow", "version": pa.__version__},
            "pandas_version": "2.2.3",
        }
    ).encode()
