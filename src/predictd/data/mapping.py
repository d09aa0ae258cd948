"""Convert a parquet file to a file that a run maps; docs/contributors/mapped-data.md describes the format."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from predictd.data.atomic_write import staged_file
from predictd.data.files import open_parquet, row_count
from predictd.data.mapping_plan import MappedGroup, MappingPlan
from predictd.domain.errors import InvalidInputError
from predictd.runner.mapped import (
    LINE,
    MAGIC,
    PAGE,
    PREAMBLE,
    DamagedFileError,
    block_offsets,
    header_checksum,
    read_header,
    round_up,
)

Progress = Callable[[int, int], None]

TARGETS = "target"
"""The prefix of the names of targets."""
_BATCH_ROWS = 1 << 16
# Arrow's decoding and the copy take a few times as much.
_BATCH_BYTES = 128 << 20


class _NullsError(Exception):
    """Integer columns have missing values, so pandas reads them with other dtypes."""


def is_mapped(path: Path) -> bool:
    """Return whether `path` is a complete mapped file; checks its length and header, not its values."""
    try:
        with path.open("rb") as file:
            return read_header(file) is not None
    except (OSError, DamagedFileError):
        return False


def count_rows(path: Path) -> int:
    """Return the number of rows of a mapped or parquet file without reading values.

    Raises:
        InvalidInputError: the file is neither.
        DamagedFileError: the mapped file is truncated.
    """
    with path.open("rb") as file:
        header = read_header(file)
    if header is None:
        return row_count(path)
    if header["kind"] == "mapped":
        return int(header["bounds"][-1])
    with pa.memory_map(str(path)) as memory:
        begin, length = header["rest"]
        memory.seek(begin)
        return int(pq.read_metadata(pa.BufferReader(memory.read_buffer(length))).num_rows)


def map_parquet(source: Path, target: Path, progress: Progress | None = None, *, without_targets: bool = False) -> None:
    """Convert the parquet file `source` to the mapped file `target` atomically.

    A file that pandas reads in a way that cannot be mapped (column names that are not strings, extension types) or
    without numeric columns is copied unchanged, so every parquet file has a mapped file. `progress(done, total)` counts
    values. With `without_targets`, targets are missing in all rows, as they are in live data.

    Takes about 7 ns per value and at most about 1 GB of memory for Numerai's files of any size.
    Raises InvalidInputError if `source` is not parquet, cannot be decoded or has targets that cannot be removed, and
    OSError if `target` cannot be written.
    """
    with open_parquet(source) as file, staged_file(target) as staging:
        try:
            plan = MappingPlan.of(file, frozenset())
            if without_targets:
                _check_targets(source, file, plan)
            if plan is None or not _write_mapped(file, staging, plan, progress, blank=without_targets):
                _copy_unchanged(source, staging)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InvalidInputError(
                f"{source.name} can't be decoded ({reason}). Download or write the complete file again."
            ) from error
        staging.chmod(0o444)


def _check_targets(source: Path, file: pq.ParquetFile, plan: MappingPlan | None) -> None:
    """Raise InvalidInputError unless all targets are mapped as floats, whose values can be removed."""
    mapped = {name for group in plan.groups if group.dtype.kind == "f" for name in group.names} if plan else set()
    for name in file.schema_arrow.names:
        if name.startswith(TARGETS) and name not in mapped:
            raise InvalidInputError(
                f"{source.name}: the column '{name}' must contain floats. Write it as floats with pandas."
            )


def _write_mapped(
    file: pq.ParquetFile, staging: Path, plan: MappingPlan, progress: Progress | None, *, blank: bool
) -> bool:
    """Write the mapped file, with `blank` targets or not; return False if no column can be mapped."""
    try:
        _write(file, staging, plan, progress, blank=blank)
    except _NullsError:
        # Parquet files need not record where values are missing: only now is it worth reading all of them.
        with_nulls = frozenset(name for group in plan.groups for name in _columns_with_nulls(file, group))
        plan_without_nulls = MappingPlan.of(file, with_nulls)
        if plan_without_nulls is None:
            return False
        _write(file, staging, plan_without_nulls, progress, blank=blank)
    return True


def _columns_with_nulls(file: pq.ParquetFile, group: MappedGroup) -> Iterator[str]:
    """Yield the group's columns that have missing values."""
    if group.dtype.kind == "f":
        return
    for batch in _batches(file):
        for table in _tables(file, batch, group):
            yield from (
                name for name, column in zip(table.column_names, table.columns, strict=True) if column.null_count
            )


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Consecutive row groups that are read together: rows `start` to `stop` of the file."""

    row_groups: list[int]
    start: int
    stop: int


def _batches(file: pq.ParquetFile) -> Iterator[_Batch]:
    row_groups: list[int] = []
    start = stop = 0
    for number in range(file.metadata.num_row_groups):
        row_groups.append(number)
        stop += file.metadata.row_group(number).num_rows
        if stop - start >= _BATCH_ROWS:
            yield _Batch(row_groups=row_groups, start=start, stop=stop)
            row_groups, start = [], stop
    if row_groups:
        yield _Batch(row_groups=row_groups, start=start, stop=stop)


def _tables(file: pq.ParquetFile, batch: _Batch, group: MappedGroup) -> Iterator[pa.Table]:
    """Yield the columns of the group, as many at a time as fit in memory."""
    step = max(1, _BATCH_BYTES // max(1, (batch.stop - batch.start) * group.dtype.itemsize))
    for first in range(0, len(group.names), step):
        yield _read(file, batch, group.names[first : first + step])


def _read(file: pq.ParquetFile, batch: _Batch, names: list[str]) -> pa.Table:
    table = file.read_row_groups(batch.row_groups, columns=names)
    # Arrow interprets a dot as a path into a nested column, and returns the columns in file order.
    return table if table.column_names == names else table.select(names)


def _write(file: pq.ParquetFile, staging: Path, plan: MappingPlan, progress: Progress | None, *, blank: bool) -> None:
    header: dict[str, Any] = {
        "kind": "mapped",
        "columns": plan.columns,
        "groups": [group.describe() for group in plan.groups],
        "bounds": plan.bounds,
        "rest_positions": [position for position, name in enumerate(plan.columns) if name in set(plan.rest.names)],
        "order": None,
    }
    with staging.open("wb") as out:
        offsets = block_offsets(header)
        _write_matrices(file, out.fileno(), plan, offsets, progress, blank=blank)
        out.seek(round_up(offsets[-1][-1], LINE))
        if plan.order is not None:
            header["order"] = [out.tell(), plan.order.nbytes]
            out.write(plan.order.astype("<i8").tobytes())
        begin = out.seek(round_up(out.tell(), LINE))
        with pa.ipc.new_stream(out, plan.rest) as stream:
            for batch in _batches(file):
                stream.write_table(_read(file, batch, plan.rest.names))
        header["rest"] = [begin, out.tell() - begin]
        _finish(out, header)


def _finish(out: Any, header: dict[str, Any]) -> None:
    """Write the header last, when it is complete; the preamble points to it."""
    text = json.dumps(header).encode()
    begin = out.tell()
    size = begin + len(text)
    out.write(text)
    out.seek(0)
    out.write(PREAMBLE.pack(MAGIC, begin, len(text), size, header_checksum(text, begin, size)))


def _copy_unchanged(source: Path, staging: Path) -> None:
    with source.open("rb") as parquet, staging.open("wb") as out:
        begin = out.seek(PAGE)
        shutil.copyfileobj(parquet, out, 1 << 20)
        _finish(out, {"kind": "parquet", "rest": [begin, out.tell() - begin]})


def _write_matrices(
    file: pq.ParquetFile,
    out: int,
    plan: MappingPlan,
    offsets: list[list[int]],
    progress: Progress | None,
    *,
    blank: bool,
) -> None:
    done, total = 0, plan.bounds[-1] * sum(len(group.names) for group in plan.groups)
    filled = [0] * (len(plan.bounds) - 1)
    for batch in _batches(file):
        pieces = _pieces(plan, batch, filled)
        for number, group in enumerate(plan.groups):
            first = 0
            for table in _tables(file, batch, group):
                matrix = _matrix(table, group.dtype)
                if blank and group.dtype.kind == "f":
                    matrix[[name.startswith(TARGETS) for name in table.column_names]] = np.nan
                for piece in pieces:
                    _put(out, matrix, piece, offsets[piece.block][number], first)
                first += len(matrix)
                done += matrix.size
                if progress is not None:
                    progress(done, total)
        for piece in pieces:
            filled[piece.block] += piece.rows


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """The `rows` rows of a batch in one block: `selection` of the batch, from row `begin` of `size` in the block."""

    block: int
    selection: slice | NDArray[np.intp]
    rows: int
    begin: int
    size: int


def _pieces(plan: MappingPlan, batch: _Batch, filled: list[int]) -> list[_Piece]:
    rows = batch.stop - batch.start
    if plan.block_of is None:
        return [_Piece(block=0, selection=slice(0, rows), rows=rows, begin=filled[0], size=plan.bounds[-1])]
    block_of = plan.block_of[batch.start : batch.stop]
    sorted_rows = np.argsort(block_of, kind="stable")
    blocks, starts = np.unique(block_of[sorted_rows], return_index=True)
    pieces = []
    for block, start, stop in zip(blocks.tolist(), starts, [*starts[1:], rows], strict=True):
        block_rows = sorted_rows[start:stop]
        is_contiguous = block_rows[-1] - block_rows[0] == len(block_rows) - 1
        pieces.append(
            _Piece(
                block=block,
                selection=slice(int(block_rows[0]), int(block_rows[-1]) + 1) if is_contiguous else block_rows,
                rows=len(block_rows),
                begin=filled[block],
                size=plan.bounds[block + 1] - plan.bounds[block],
            )
        )
    return pieces


def _matrix(table: pa.Table, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the columns as rows of one array; missing floats are NaN."""
    matrix = np.empty((table.num_columns, table.num_rows), dtype)
    for row, column in zip(matrix, table.columns, strict=True):
        if column.null_count and dtype.kind != "f":
            raise _NullsError
        row[:] = column.to_numpy()
    return matrix


def _put(out: int, matrix: NDArray[Any], piece: _Piece, offset: int, first: int) -> None:
    """Write the piece's rows of the columns from `first` into the matrix at `offset`."""
    if not piece.rows:
        return
    values = np.ascontiguousarray(matrix[:, piece.selection])
    column_bytes = piece.size * matrix.itemsize
    offset += first * column_bytes + piece.begin * matrix.itemsize
    if piece.rows == piece.size:
        _write_at(out, values.data.cast("B"), offset)
        return
    for number, column in enumerate(values):
        _write_at(out, column.data.cast("B"), offset + number * column_bytes)


def _write_at(out: int, content: memoryview, offset: int) -> None:
    while len(content):
        written = os.pwrite(out, content, offset)
        content, offset = content[written:], offset + written
