"""How a parquet file is mapped: which columns become matrices, which are left to pandas, and where rows go."""

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

_ERA = "era"
_MOST_ERAS = 1 << 16
_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


@dataclass(frozen=True, kw_only=True)
class MappedGroup:
    """Columns of one dtype, in the order of the table; `positions` are theirs among all columns of the DataFrame."""

    dtype: np.dtype[Any]
    names: list[str]
    positions: list[int]

    def described(self) -> dict[str, Any]:
        """The group as the header has it; `runs` are the positions as ranges."""
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
    """Which columns are mapped, which are left to Arrow and pandas, and where the rows of the blocks come from.

    Attributes:
        columns: names of the DataFrame's columns, without its index.
        groups: the mapped ones, one group per dtype.
        rest: schema of the others and the index, with what pandas needs to know about them.
        bounds: where the blocks begin among the rows in order of blocks, and the number of rows.
        block_of: int32 per row of the file, the block it belongs to; None when there is but one.
        order: int64 per row in order of blocks, its position in the file; None when the file has that order.
    """

    columns: list[str]
    groups: list[MappedGroup]
    rest: pa.Schema
    bounds: list[int]
    block_of: NDArray[np.int32] | None
    order: NDArray[np.int64] | None

    @classmethod
    def of(cls, file: pq.ParquetFile, lacking: frozenset[str]) -> "MappingPlan | None":
        """How to map the file; None if not at all. `lacking` names columns of whole numbers with missing values."""
        schema = file.schema_arrow
        names = schema.names
        if len(set(names)) < len(names) or any(_is_extension(field) for field in schema):
            return None
        try:
            metadata = schema.pandas_metadata or {}
            described = {entry.get("field_name", entry["name"]): entry for entry in metadata.get("columns", [])}
            index = {name for name in metadata.get("index_columns", []) if isinstance(name, str)}
            columns = [name for name in names if name not in index]
            if not _has_plain_names(metadata, described, columns):
                return None
            groups: dict[np.dtype[Any], MappedGroup] = {}
            for position, name in enumerate(columns):
                dtype = _dtype_of(schema.field(name).type, described.get(name))
                if dtype is not None and name not in lacking:
                    group = groups.setdefault(dtype, MappedGroup(dtype=dtype, names=[], positions=[]))
                    group.names.append(name)
                    group.positions.append(position)
        except (AttributeError, KeyError, TypeError, ValueError):  # metadata that only pandas can make something of
            return None
        if not groups:
            return None
        mapped = {name for group in groups.values() for name in group.names}
        bounds, block_of, order = _blocks(file, columns, described)
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


def _has_plain_names(metadata: dict[str, Any], described: dict[str, Any], columns: list[str]) -> bool:
    """Whether the names of the DataFrame's columns are the strings that the file has."""
    levels = metadata.get("column_indexes", [])
    if len(levels) > 1 or (levels and levels[0]["pandas_type"] != "unicode"):
        return False
    return all(described.get(name, {"name": name})["name"] == name for name in columns)


def _dtype_of(kind: pa.DataType, described: dict[str, Any] | None) -> np.dtype[Any] | None:
    """The NumPy dtype that pandas gives such a column when no values are missing; None for what is not mapped."""
    if not (pa.types.is_integer(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind)):
        return None
    dtype = np.dtype(kind.to_pandas_dtype())
    return dtype if described is None or described["numpy_type"] == dtype.name else None


def _rest(schema: pa.Schema, names: list[str], metadata: dict[str, Any]) -> pa.Schema:
    kept = dict(schema.metadata or {})
    if metadata:
        entries = [entry for entry in metadata["columns"] if entry.get("field_name", entry["name"]) in names]
        kept[b"pandas"] = json.dumps({**metadata, "columns": entries}).encode()
    return pa.schema([schema.field(name) for name in names], metadata=kept or None)


def _blocks(
    file: pq.ParquetFile, columns: list[str], described: dict[str, Any]
) -> tuple[list[int], NDArray[np.int32] | None, NDArray[np.int64] | None]:
    """Blocks are eras in ascending order, if that is surely how `groupby` sees them; otherwise all rows are one."""
    rows = int(file.metadata.num_rows)
    one = [0, rows], None, None
    if _ERA not in columns:
        return one
    kind = file.schema_arrow.field(_ERA).type
    if not (pa.types.is_integer(kind) or any(is_text(kind) for is_text in _TEXT)):
        return one
    eras = file.read(columns=[_ERA]).column(0)
    if eras.null_count:
        return one
    coded = eras.combine_chunks().dictionary_encode() if eras.num_chunks != 1 else eras.chunk(0).dictionary_encode()
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    found = coded.dictionary.to_pylist()
    if not 2 <= len(found) <= _MOST_ERAS:
        return one
    ranks = np.empty(len(found), np.int32)
    ranks[sorted(range(len(found)), key=found.__getitem__)] = np.arange(len(found), dtype=np.int32)
    block_of = ranks[coded.indices.to_numpy()]
    bounds = [0, *np.cumsum(np.bincount(block_of)).tolist()]
    if (np.diff(block_of) >= 0).all():
        return bounds, block_of, None
    return bounds, block_of, np.argsort(block_of, kind="stable").astype(np.int64)
