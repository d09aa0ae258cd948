"""Converts a parquet file into a file that a run maps: see docs/mapped-data.md for the format and its guarantees."""

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
"""What the names of targets begin with."""
_BATCH_ROWS = 1 << 16
# Arrow's decoding and our copy take a few times as much.
_BATCH_BYTES = 128 << 20


class _NullsError(Exception):
    """Columns of whole numbers lack values, which pandas reads as other dtypes."""


def is_mapped(path: Path) -> bool:
    """Whether there is a whole mapped file at `path`: its length and its header are checked, not its values."""
    try:
        with path.open("rb") as file:
            return read_header(file) is not None
    except (OSError, DamagedFileError):
        return False


def count_rows(path: Path) -> int:
    """Return the number of rows of a data file of ours, mapped or parquet; reads no values.

    Raises:
        InvalidInputError: it is neither.
        DamagedFileError: it is a mapped file that is cut short.
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
    """Convert the parquet file `source` to the mapped file `target`, which appears whole or not at all.

    A file that pandas reads in ways which can't be kept (names of columns that are no strings, extension types) or that
    has no columns of numbers is taken over as it is, so every parquet file has a mapped file. `progress(done, total)`
    counts values. With `without_targets`, targets are missing in all rows, as they are in live data.

    Takes some 7 ns per value and at most about 1 GB of memory for Numerai's files of any size.
    Raises InvalidInputError when `source` is no parquet file, can't be decoded or holds targets that can't be left out,
    OSError when `target` can't be written.
    """
    with open_parquet(source) as file, staged_file(target) as staging:
        try:
            plan = MappingPlan.of(file, frozenset())
            if without_targets:
                _check_targets(source, file, plan)
            if plan is None or not _mapped(file, staging, plan, progress, blank=without_targets):
                _copied(source, staging)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InvalidInputError(
                f"{source.name} can't be decoded ({reason}); download or write it again, the whole of it."
            ) from error
        staging.chmod(0o444)


def _check_targets(source: Path, file: pq.ParquetFile, plan: MappingPlan | None) -> None:
    """Raise InvalidInputError unless all targets are mapped as floats, whose values can be left out."""
    mapped = {name for group in plan.groups if group.dtype.kind == "f" for name in group.names} if plan else set()
    for name in file.schema_arrow.names:
        if name.startswith(TARGETS) and name not in mapped:
            raise InvalidInputError(f"{source.name}: the column '{name}' must hold floats; write it by pandas so.")


def _mapped(file: pq.ParquetFile, staging: Path, plan: MappingPlan, progress: Progress | None, *, blank: bool) -> bool:
    """Write the mapped file, with `blank` targets or not; False when nothing of it can be mapped."""
    try:
        _write(file, staging, plan, progress, blank=blank)
    except _NullsError:
        # Parquet files need not say where values are missing: only now is it worth looking at all of them.
        lacking = frozenset(name for group in plan.groups for name in _lacking(file, group))
        again = MappingPlan.of(file, lacking)
        if again is None:
            return False
        _write(file, staging, again, progress, blank=blank)
    return True


def _lacking(file: pq.ParquetFile, group: MappedGroup) -> Iterator[str]:
    """The group's columns that lack values."""
    if group.dtype.kind == "f":
        return
    for batch in _batches(file):
        for table in _tables(file, batch, group):
            yield from (
                name for name, column in zip(table.column_names, table.columns, strict=True) if column.null_count
            )


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Neighbouring row groups that are read together: rows `start` to `stop` of the file."""

    row_groups: list[int]
    start: int
    stop: int


def _batches(file: pq.ParquetFile) -> Iterator[_Batch]:
    gathered: list[int] = []
    start = stop = 0
    for number in range(file.metadata.num_row_groups):
        gathered.append(number)
        stop += file.metadata.row_group(number).num_rows
        if stop - start >= _BATCH_ROWS:
            yield _Batch(row_groups=gathered, start=start, stop=stop)
            gathered, start = [], stop
    if gathered:
        yield _Batch(row_groups=gathered, start=start, stop=stop)


def _tables(file: pq.ParquetFile, batch: _Batch, group: MappedGroup) -> Iterator[pa.Table]:
    """The columns of the group, as many at a time as may be in memory."""
    step = max(1, _BATCH_BYTES // max(1, (batch.stop - batch.start) * group.dtype.itemsize))
    for first in range(0, len(group.names), step):
        yield _read(file, batch, group.names[first : first + step])


def _read(file: pq.ParquetFile, batch: _Batch, names: list[str]) -> pa.Table:
    table = file.read_row_groups(batch.row_groups, columns=names)
    # Arrow takes a dot for the way into a nested column, and gives the columns in the order of the file.
    return table if table.column_names == names else table.select(names)


def _write(file: pq.ParquetFile, staging: Path, plan: MappingPlan, progress: Progress | None, *, blank: bool) -> None:
    header: dict[str, Any] = {
        "kind": "mapped",
        "columns": plan.columns,
        "groups": [group.described() for group in plan.groups],
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
    """The header comes last, because only then is all known that it tells; the beginning says where it is."""
    text = json.dumps(header).encode()
    begin = out.tell()
    size = begin + len(text)
    out.write(text)
    out.seek(0)
    out.write(PREAMBLE.pack(MAGIC, begin, len(text), size, header_checksum(text, begin, size)))


def _copied(source: Path, staging: Path) -> None:
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
    """Rows of a batch that belong to one block: `taken` of the batch, `rows` many, from row `begin` of `size` there."""

    block: int
    taken: slice | NDArray[np.intp]
    rows: int
    begin: int
    size: int


def _pieces(plan: MappingPlan, batch: _Batch, filled: list[int]) -> list[_Piece]:
    rows = batch.stop - batch.start
    if plan.block_of is None:
        return [_Piece(block=0, taken=slice(0, rows), rows=rows, begin=filled[0], size=plan.bounds[-1])]
    block_of = plan.block_of[batch.start : batch.stop]
    sorted_rows = np.argsort(block_of, kind="stable")
    found, starts = np.unique(block_of[sorted_rows], return_index=True)
    pieces = []
    for block, start, stop in zip(found.tolist(), starts, [*starts[1:], rows], strict=True):
        taken = sorted_rows[start:stop]
        together = taken[-1] - taken[0] == len(taken) - 1
        pieces.append(
            _Piece(
                block=block,
                taken=slice(int(taken[0]), int(taken[-1]) + 1) if together else taken,
                rows=len(taken),
                begin=filled[block],
                size=plan.bounds[block + 1] - plan.bounds[block],
            )
        )
    return pieces


def _matrix(table: pa.Table, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The columns as rows of one array; missing floats are NaN."""
    matrix = np.empty((table.num_columns, table.num_rows), dtype)
    for row, column in zip(matrix, table.columns, strict=True):
        if column.null_count and dtype.kind != "f":
            raise _NullsError
        row[:] = column.to_numpy()
    return matrix


def _put(out: int, matrix: NDArray[Any], piece: _Piece, offset: int, first: int) -> None:
    """Write the piece's rows of the columns `first` and on into the matrix that begins at `offset`."""
    if not piece.rows:
        return
    values = np.ascontiguousarray(matrix[:, piece.taken])
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
