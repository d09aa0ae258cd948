"""Plan how a parquet file is mapped: which columns become matrices, which pandas reads, and where rows go."""

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

_ERA = "era"
_MAX_ERAS = 1 << 16
_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


@dataclass(frozen=True, kw_only=True)
class MappedGroup:
    """Columns of one dtype, in table order; `positions` are their positions among all columns of the DataFrame."""

    dtype: np.dtype[Any]
    names: list[str]
    positions: list[int]

    def describe(self) -> dict[str, Any]:
        """Return the group as in the header; `runs` are the positions as ranges."""
        breaks = [0, *(np.flatnonzero(np.diff(self.positions) != 1) + 1).tolist(), len(self.positions)]
        runs = [[self.positions[start], self.positions[stop - 1] + 1] for start, stop in pairwise(breaks)]
        return {
            "dtype": self.dtype.str,
            "bytes": self.dtype.itemsize,
            "columns": len(self.names),
            "runs": runs,
        }


@dataclass(frozen=True, kw_only=True)
class MappingPlan:
    """Which columns are mapped, which Arrow and pandas read, and where the rows of the blocks come from.

    Attributes:
        columns: names of the DataFrame's columns, without its index.
        groups: the mapped columns, one group per dtype.
        rest: schema of the other columns and the index, with their pandas metadata.
        bounds: the first row of each block in block order, and the number of rows.
        block_of: int32 per row of the file, its block; None for a single block.
        order: int64 per row in block order, its position in the file; None if the file has that order.
    """

    columns: list[str]
    groups: list[MappedGroup]
    rest: pa.Schema
    bounds: list[int]
    block_of: NDArray[np.int32] | None
    order: NDArray[np.int64] | None

    @classmethod
    def of(cls, file: pq.ParquetFile, with_nulls: frozenset[str]) -> "MappingPlan | None":
        """Return the plan for a file, or None if it cannot be mapped. `with_nulls` are integer columns with missing
        values.
        """
        schema = file.schema_arrow
        names = schema.names
        if len(set(names)) < len(names) or any(_is_extension(field) for field in schema):
            return None
        try:
            metadata = schema.pandas_metadata or {}
            column_metadata = {entry.get("field_name", entry["name"]): entry for entry in metadata.get("columns", [])}
            index = {name for name in metadata.get("index_columns", []) if isinstance(name, str)}
            columns = [name for name in names if name not in index]
            if not _has_plain_names(metadata, column_metadata, columns):
                return None
            groups: dict[np.dtype[Any], MappedGroup] = {}
            for position, name in enumerate(columns):
                dtype = _dtype_of(schema.field(name).type, column_metadata.get(name))
                if dtype is not None and name not in with_nulls:
                    group = groups.setdefault(dtype, MappedGroup(dtype=dtype, names=[], positions=[]))
                    group.names.append(name)
                    group.positions.append(position)
        except (AttributeError, KeyError, TypeError, ValueError):  # metadata that only pandas understands
            return None
        if not groups:
            return None
        mapped = {name for group in groups.values() for name in group.names}
        bounds, block_of, order = _blocks(file, columns, column_metadata)
        return cls(
            columns=columns,
            groups=list(groups.values()),
            rest=_rest(schema, [name for name in names if name not in mapped], metadata),
            bounds=bounds,
            block_of=block_of,
            order=order,
        )


def _is_extension(field: pa.Field) -> bool:
    return isinstance(field.type, pa.BaseExtensionType) or b"ARROW:extension:name" in (field.metadata or {})


def _has_plain_names(metadata: dict[str, Any], column_metadata: dict[str, Any], columns: list[str]) -> bool:
    """Return whether the DataFrame's column names are the strings in the file."""
    levels = metadata.get("column_indexes", [])
    if len(levels) > 1 or (levels and levels[0]["pandas_type"] != "unicode"):
        return False
    return all(column_metadata.get(name, {"name": name})["name"] == name for name in columns)


def _dtype_of(kind: pa.DataType, metadata: dict[str, Any] | None) -> np.dtype[Any] | None:
    """Return the NumPy dtype of such a column in pandas without missing values, or None if it is not mapped."""
    if not (pa.types.is_integer(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind)):
        return None
    dtype = np.dtype(kind.to_pandas_dtype())
    return dtype if metadata is None or metadata["numpy_type"] == dtype.name else None


def _rest(schema: pa.Schema, names: list[str], metadata: dict[str, Any]) -> pa.Schema:
    schema_metadata = dict(schema.metadata or {})
    if metadata:
        entries = [entry for entry in metadata["columns"] if entry.get("field_name", entry["name"]) in names]
        schema_metadata[b"pandas"] = json.dumps({**metadata, "columns": entries}).encode()
    return pa.schema([schema.field(name) for name in names], metadata=schema_metadata or None)


def _blocks(
    file: pq.ParquetFile, columns: list[str], column_metadata: dict[str, Any]
) -> tuple[list[int], NDArray[np.int32] | None, NDArray[np.int64] | None]:
    """Return eras as blocks in ascending order if `groupby` certainly sees them so; otherwise a single block."""
    rows = int(file.metadata.num_rows)
    single = [0, rows], None, None
    if _ERA not in columns:
        return single
    kind = file.schema_arrow.field(_ERA).type
    if not (pa.types.is_integer(kind) or any(is_text(kind) for is_text in _TEXT)):
        return single
    eras = file.read(columns=[_ERA]).column(0)
    if eras.null_count:
        return single
    coded = eras.combine_chunks().dictionary_encode() if eras.num_chunks != 1 else eras.chunk(0).dictionary_encode()
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    eras_present = coded.dictionary.to_pylist()
    if not 2 <= len(eras_present) <= _MAX_ERAS:
        return single
    ranks = np.empty(len(eras_present), np.int32)
    ranks[sorted(range(len(eras_present)), key=eras_present.__getitem__)] = np.arange(len(eras_present), dtype=np.int32)
    block_of = ranks[coded.indices.to_numpy()]
    bounds = [0, *np.cumsum(np.bincount(block_of)).tolist()]
    if (np.diff(block_of) >= 0).all():
        return bounds, block_of, None
    return bounds, block_of, np.argsort(block_of, kind="stable").astype(np.int64)
