"""Read a mapped table as the DataFrame of `pandas.read_parquet`, over a private map of the file and without a copy.

`predictd.data.mapping` writes them; see docs/contributors/mapped-data.md. Numbers lie in blocks of whole eras, in
each block one column-major matrix per dtype; all other columns and the index lie in one Arrow stream that pandas itself
decodes.
"""

import gc
import importlib
import json
import mmap
import os
import struct
import weakref
import zlib
from itertools import pairwise
from typing import IO, Any

MAGIC = b"PREDMAP1"
PREAMBLE = struct.Struct("<8sQQQI")
"""Magic, offset and length of the header, length of the file, CRC-32 of the header and these three numbers."""
PAGE = 4096
LINE = 64


class DamagedFileError(ValueError):
    """A mapped file that is truncated or has a changed header."""


def read_header(file: IO[bytes]) -> "dict[str, Any] | None":
    """Return the header of a mapped file, or None for any other file.

    Raises:
        DamagedFileError: It is a damaged mapped file.
    """
    preamble = os.pread(file.fileno(), PREAMBLE.size, 0)
    if not preamble.startswith(MAGIC):
        return None
    if len(preamble) == PREAMBLE.size:
        _, begin, length, size, checksum = PREAMBLE.unpack(preamble)
        if os.fstat(file.fileno()).st_size == size and begin + length <= size:
            text = os.pread(file.fileno(), length, begin)
            if header_checksum(text, begin, size) == checksum:
                header: dict[str, Any] = json.loads(text)
                return header
    raise DamagedFileError(
        "The mapped data file is truncated or was changed. Delete it; it is created again when needed."
    )


def warm_up() -> None:
    """Import what reading needs and trigger what pandas and Arrow initialize at first use; start no threads."""
    import pandas  # noqa: PLC0415
    import pyarrow  # noqa: PLC0415

    rest = _as_pandas(pyarrow.table({"name": ["value"]}))
    _assemble(
        [(block.values, block.mgr_locs.as_array) for block in rest._mgr.blocks], rest.index, pandas.Index(["name"])
    )


def header_checksum(text: bytes, begin: int, size: int) -> int:
    """Return the checksum in the preamble, which detects damaged files."""
    return zlib.crc32(text + struct.pack("<QQQ", begin, len(text), size))


def block_offsets(header: "dict[str, Any]") -> "list[list[int]]":
    """Return for each block the offset of each matrix (one per group of columns), and the end of the block."""
    offset, offsets_by_block = 0, []
    for start, stop in pairwise(header["bounds"]):
        offset = round_up(max(offset, PREAMBLE.size), PAGE)
        offsets = []
        for group in header["groups"]:
            offset = round_up(offset, LINE)
            offsets.append(offset)
            offset += (stop - start) * group["columns"] * group["bytes"]
        offsets_by_block.append([*offsets, offset])
    return offsets_by_block


def round_up(offset: int, unit: int) -> int:
    """Return the next multiple of `unit`."""
    return -(-offset // unit) * unit


def open_table(source: "int | str | os.PathLike[str]") -> Any:
    """Return a DataFrame, or a MappedTable if the file has several blocks, for `predictions.iterate_eras`.

    Close a descriptor. Raises DamagedFileError.
    """
    import pandas  # noqa: PLC0415

    with open(source, "rb") as file:
        header = read_header(file)
        if header is None:
            return pandas.read_parquet(file)
        if header["kind"] == "parquet":
            return pandas.read_parquet(_arrow_file(file, header["rest"]), use_threads=False)
        table = MappedTable(file, header)
    return table.single_block() if len(table) == 1 else table


class MappedTable:
    """A mapped file: `block(i)` returns the rows of its i-th era, `whole()` all rows in the order of the parquet file.

    The index and the columns that are not mapped are decoded once; maps live as long as DataFrames need them.
    """

    def __init__(self, file: "IO[bytes]", header: "dict[str, Any]") -> None:
        import numpy  # noqa: PLC0415

        self._file = os.fdopen(os.dup(file.fileno()), "rb")
        self._block_offsets = block_offsets(header)
        self.bounds: list[int] = header["bounds"]
        self._groups = header["groups"]
        self._rest, self._columns = _decode(file, header)
        self._rest_positions = numpy.array(header["rest_positions"], dtype=numpy.intp)
        self._group_positions = [
            numpy.concatenate([numpy.arange(start, stop) for start, stop in group["runs"]]) for group in self._groups
        ]
        self.order: Any = None
        if header["order"] is not None:
            begin, length = header["order"]
            self.order = numpy.frombuffer(os.pread(file.fileno(), length, begin), dtype="<i8")
        self._sorted_rest: Any = None
        self._last_map: weakref.ref[mmap.mmap] | None = None

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def index(self) -> Any:
        """Return the index of all rows, in the order of the parquet file."""
        return self._rest.index

    def single_block(self) -> Any:
        """Return the DataFrame of a table with one block, over the map."""
        return self._frame(self._rest, self._matrices(0))

    def block(self, number: int) -> Any:
        """Return the DataFrame of one era over a private map of its rows; writes of a model don't change the file."""
        if self._sorted_rest is None:
            self._sorted_rest = self._sort_by_blocks()
        rest = self._sorted_rest.iloc[self.bounds[number] : self.bounds[number + 1]]
        return self._frame(rest, self._matrices(number))

    def release(self) -> None:
        """Free the map of the last block unless it is still in use."""
        if self._last_map is not None and self._last_map() is not None:
            gc.collect()

    def rows(self, number: int) -> Any:
        """Return the positions of a block's rows in the parquet file: a slice or an array."""
        start, stop = self.bounds[number], self.bounds[number + 1]
        return slice(start, stop) if self.order is None else self.order[start:stop]

    def has_same_blocks(self, other: "MappedTable") -> bool:
        """Return whether the blocks of both tables have the same positions."""
        if self.order is None or other.order is None:
            return self.bounds == other.bounds and self.order is other.order
        return self.bounds == other.bounds and bool((self.order == other.order).all())

    def whole(self) -> Any:
        """Return all rows as one DataFrame, copied into memory."""
        import numpy  # noqa: PLC0415

        matrices = [numpy.empty((group["columns"], self.bounds[-1]), group["dtype"]) for group in self._groups]
        for number in range(len(self)):
            for matrix, part in zip(matrices, self._matrices(number), strict=True):
                matrix[:, self.rows(number)] = part
        return self._frame(self._rest, matrices)

    def _sort_by_blocks(self) -> Any:
        import numpy  # noqa: PLC0415
        import pandas  # noqa: PLC0415

        if self.order is not None:
            return self._rest.take(self.order)
        if isinstance(self.index, pandas.RangeIndex):  # rows of a group have individual positions
            return self._rest.set_axis(self.index.take(numpy.arange(len(self.index))), axis=0)
        return self._rest

    def _matrices(self, number: int) -> "list[Any]":
        import numpy  # noqa: PLC0415

        rows = self.bounds[number + 1] - self.bounds[number]
        *offsets, end = self._block_offsets[number]
        begin = offsets[0] - offsets[0] % mmap.ALLOCATIONGRANULARITY
        if not rows:
            return [numpy.empty((group["columns"], 0), group["dtype"]) for group in self._groups]
        memory = mmap.mmap(self._file.fileno(), end - begin, access=mmap.ACCESS_COPY, offset=begin)
        self._last_map = weakref.ref(memory)
        return [
            numpy.frombuffer(memory, group["dtype"], rows * group["columns"], offset - begin).reshape(-1, rows)
            for group, offset in zip(self._groups, offsets, strict=True)
        ]

    def _frame(self, rest: Any, matrices: "list[Any]") -> Any:
        """Return the DataFrame with the blocks of the matrices and of the rest."""
        parts = [(block.values, self._rest_positions[block.mgr_locs.as_array]) for block in rest._mgr.blocks]
        parts += zip(matrices, self._group_positions, strict=True)
        frame = _assemble(parts, rest.index, self._columns)
        frame.attrs = rest.attrs
        return frame


def _decode(file: "IO[bytes]", header: "dict[str, Any]") -> "tuple[Any, Any]":
    """Return the DataFrame of the index and the unmapped columns, and the column index of the whole table."""
    import pandas  # noqa: PLC0415
    import pyarrow  # noqa: PLC0415

    table = pyarrow.ipc.open_stream(_arrow_file(file, header["rest"])).read_all()
    rest = _as_pandas(table)
    kind = rest.columns
    if not len(kind):  # the dtype is unknown then, so convert one column
        sample = pyarrow.schema([(header["columns"][0], pyarrow.int8())], table.schema.metadata).empty_table()
        kind = _as_pandas(sample).columns
    attributes = (table.schema.metadata or {}).get(b"PANDAS_ATTRS")
    if attributes is not None:
        rest.attrs = json.loads(attributes)
    return rest, pandas.Index(header["columns"], dtype=kind.dtype, name=kind.name)


def _as_pandas(table: Any) -> Any:
    """Convert as `pandas.read_parquet` does after reading, with its own function if available."""
    try:
        convert = importlib.import_module("pandas.io._util").arrow_table_to_pandas
    except (ImportError, AttributeError):
        return table.to_pandas(use_threads=False)
    return convert(table, to_pandas_kwargs={"use_threads": False})


def _arrow_file(file: "IO[bytes]", section: "list[int]") -> Any:
    """Return a section of the file, mapped read-only, for Arrow to read without a copy."""
    import pyarrow  # noqa: PLC0415

    offset, length = section
    begin = offset - offset % mmap.ALLOCATIONGRANULARITY
    memory = mmap.mmap(file.fileno(), offset + length - begin, access=mmap.ACCESS_READ, offset=begin)
    return pyarrow.BufferReader(pyarrow.py_buffer(memory).slice(offset - begin, length))


def _assemble(parts: "list[tuple[Any, Any]]", index: Any, columns: Any) -> Any:
    """Return a DataFrame of these blocks, each an array with the positions of its columns, as PyArrow does."""
    try:
        internals = importlib.import_module("pandas.api.internals")
    except ImportError:  # pandas 2
        internals = importlib.import_module("pandas.core.internals")
        blocks = [internals.make_block(array, placement=where) for array, where in parts]
        manager = internals.BlockManager(blocks, [columns, index])
        kind: Any = importlib.import_module("pandas").DataFrame
        return kind._from_mgr(manager, manager.axes) if hasattr(kind, "_from_mgr") else kind(manager)
    return internals.create_dataframe_from_blocks(parts, index=index, columns=columns)
