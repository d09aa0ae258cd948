"""Reading a mapped table: the DataFrame of `pandas.read_parquet`, over a private map of the file and without a copy.

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
from collections.abc import Iterator
from itertools import pairwise
from typing import IO, Any

MAGIC = b"PREDMAP1"
PREAMBLE = struct.Struct("<8sQQQI")
"""Magic, where the header begins, its length, the length of the file, CRC-32 of the header and these three numbers."""
PAGE = 4096
LINE = 64


class DamagedFileError(ValueError):
    """A mapped file that is cut short or whose header is not the one that was written."""


def header_of(file: IO[bytes]) -> "dict[str, Any] | None":
    """The header of a mapped file, None if the file is something else.

    Raises:
        DamagedFileError: it is a mapped file, but not whole.
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
        "The mapped data file is damaged: it is cut short or was changed. Delete it to have it made anew."
    )


def warm() -> None:
    """Import all that reading needs and have pandas and Arrow set up what they do at first use; starts no threads."""
    import pandas  # noqa: PLC0415
    import pyarrow  # noqa: PLC0415

    rest = _as_pandas(pyarrow.table({"name": ["value"]}))
    _assembled([(one.values, one.mgr_locs.as_array) for one in rest._mgr.blocks], rest.index, pandas.Index(["name"]))


def header_checksum(text: bytes, begin: int, size: int) -> int:
    """What the preamble holds to tell a whole file from a damaged one."""
    return zlib.crc32(text + struct.pack("<QQQ", begin, len(text), size))


def places(header: "dict[str, Any]") -> "list[list[int]]":
    """Where in the file each block's matrices begin: one offset per group of columns, and the block's end."""
    offset, found = 0, []
    for start, stop in pairwise(header["bounds"]):
        offset = rounded(max(offset, PREAMBLE.size), PAGE)
        offsets = []
        for group in header["groups"]:
            offset = rounded(offset, LINE)
            offsets.append(offset)
            offset += (stop - start) * group["columns"] * group["bytes"]
        found.append([*offsets, offset])
    return found


def rounded(offset: int, unit: int) -> int:
    """The next multiple of `unit`."""
    return -(-offset // unit) * unit


def read(source: "int | str | os.PathLike[str]") -> Any:
    """What `pandas.read_parquet` gives for the file, mapped or parquet; a descriptor is closed.

    A mapped file of one block costs a few milliseconds and no memory until it is written to; several blocks are copied
    together. Raises DamagedFileError.
    """
    table = open_table(source)
    return table.whole() if isinstance(table, MappedTable) else table


def blocks(source: "int | str | os.PathLike[str]") -> "Iterator[Any]":
    """The rows of each era as a DataFrame, as `groupby("era")` of the whole gives them, in ascending order.

    Of a file that is not mapped, or mapped as one block, all rows at once. A descriptor is closed.
    """
    table = open_table(source)
    if not isinstance(table, MappedTable):
        yield table
        return
    for number in range(len(table)):
        yield table.block(number)


def open_table(source: "int | str | os.PathLike[str]") -> Any:
    """A DataFrame, or a MappedTable if the file is mapped in several blocks, to be walked by `answer.by_era`.

    A descriptor is closed. Raises DamagedFileError.
    """
    import pandas  # noqa: PLC0415

    with open(source, "rb") as file:
        header = header_of(file)
        if header is None:
            return pandas.read_parquet(file)
        if header["kind"] == "parquet":
            return pandas.read_parquet(_arrow_file(file, header["rest"]), use_threads=False)
        table = MappedTable(file, header)
    return table.only() if len(table) == 1 else table


class MappedTable:
    """A mapped file: `block(i)` are the rows of its i-th era, `whole()` all rows in the order of the parquet file.

    The index and the columns that are not mapped are decoded once and kept; maps live as long as DataFrames need them.
    """

    def __init__(self, file: "IO[bytes]", header: "dict[str, Any]") -> None:
        import numpy  # noqa: PLC0415

        self._file = os.fdopen(os.dup(file.fileno()), "rb")
        self._places = places(header)
        self.bounds: list[int] = header["bounds"]
        self._groups = header["groups"]
        self._rest, self._columns = _decoded(file, header)
        self._rest_positions = numpy.array(header["rest_positions"], dtype=numpy.intp)
        self._group_positions = [
            numpy.concatenate([numpy.arange(start, stop) for start, stop in group["runs"]]) for group in self._groups
        ]
        self.order: Any = None
        if header["order"] is not None:
            begin, length = header["order"]
            self.order = numpy.frombuffer(os.pread(file.fileno(), length, begin), dtype="<i8")
        self._by_block: Any = None
        self._last: weakref.ref[mmap.mmap] | None = None

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def index(self) -> Any:
        """The index of all rows, in the order of the parquet file."""
        return self._rest.index

    def only(self) -> Any:
        """The DataFrame of a table of one block, over the map."""
        return self._frame(self._rest, self._matrices(0))

    def block(self, number: int) -> Any:
        """The DataFrame of one era, over a map of its rows alone; what a model writes into it is its own."""
        if self._by_block is None:
            self._by_block = self._in_order_of_blocks()
        rest = self._by_block.iloc[self.bounds[number] : self.bounds[number + 1]]
        return self._frame(rest, self._matrices(number))

    def release(self) -> None:
        """Make sure that the last block's map is gone unless something still uses it."""
        if self._last is not None and self._last() is not None:
            gc.collect()

    def rows(self, number: int) -> Any:
        """Positions of a block's rows in the order of the parquet file: a slice or an array."""
        start, stop = self.bounds[number], self.bounds[number + 1]
        return slice(start, stop) if self.order is None else self.order[start:stop]

    def has_blocks_of(self, other: "MappedTable") -> bool:
        """Whether the blocks of both tables hold the rows of the same positions."""
        if self.order is None or other.order is None:
            return self.bounds == other.bounds and self.order is other.order
        return self.bounds == other.bounds and bool((self.order == other.order).all())

    def whole(self) -> Any:
        """All rows as one DataFrame, in memory of its own."""
        import numpy  # noqa: PLC0415

        matrices = [numpy.empty((group["columns"], self.bounds[-1]), group["dtype"]) for group in self._groups]
        for number in range(len(self)):
            for matrix, part in zip(matrices, self._matrices(number), strict=True):
                matrix[:, self.rows(number)] = part
        return self._frame(self._rest, matrices)

    def _in_order_of_blocks(self) -> Any:
        import numpy  # noqa: PLC0415
        import pandas  # noqa: PLC0415

        if self.order is not None:
            return self._rest.take(self.order)
        if isinstance(self.index, pandas.RangeIndex):  # the rows of a group have positions one by one
            return self._rest.set_axis(self.index.take(numpy.arange(len(self.index))), axis=0)
        return self._rest

    def _matrices(self, number: int) -> "list[Any]":
        import numpy  # noqa: PLC0415

        rows = self.bounds[number + 1] - self.bounds[number]
        *offsets, end = self._places[number]
        begin = offsets[0] - offsets[0] % mmap.ALLOCATIONGRANULARITY
        if not rows:
            return [numpy.empty((group["columns"], 0), group["dtype"]) for group in self._groups]
        memory = mmap.mmap(self._file.fileno(), end - begin, access=mmap.ACCESS_COPY, offset=begin)
        self._last = weakref.ref(memory)
        return [
            numpy.frombuffer(memory, group["dtype"], rows * group["columns"], offset - begin).reshape(-1, rows)
            for group, offset in zip(self._groups, offsets, strict=True)
        ]

    def _frame(self, rest: Any, matrices: "list[Any]") -> Any:
        """The DataFrame whose blocks are the matrices and those of the rest."""
        parts = [(block.values, self._rest_positions[block.mgr_locs.as_array]) for block in rest._mgr.blocks]
        parts += zip(matrices, self._group_positions, strict=True)
        frame = _assembled(parts, rest.index, self._columns)
        frame.attrs = rest.attrs
        return frame


def _decoded(file: "IO[bytes]", header: "dict[str, Any]") -> "tuple[Any, Any]":
    """The DataFrame of the index and the columns that are not mapped, and the column index of the whole table."""
    import pandas  # noqa: PLC0415
    import pyarrow  # noqa: PLC0415

    table = pyarrow.ipc.open_stream(_arrow_file(file, header["rest"])).read_all()
    rest = _as_pandas(table)
    kind = rest.columns
    if not len(kind):  # its dtype says nothing then, so one column is asked
        sample = pyarrow.schema([(header["columns"][0], pyarrow.int8())], table.schema.metadata).empty_table()
        kind = _as_pandas(sample).columns
    attributes = (table.schema.metadata or {}).get(b"PANDAS_ATTRS")
    if attributes is not None:
        rest.attrs = json.loads(attributes)
    return rest, pandas.Index(header["columns"], dtype=kind.dtype, name=kind.name)


def _as_pandas(table: Any) -> Any:
    """The step of `pandas.read_parquet` that comes after reading, by pandas itself where it has one."""
    try:
        convert = importlib.import_module("pandas.io._util").arrow_table_to_pandas
    except (ImportError, AttributeError):
        return table.to_pandas(use_threads=False)
    return convert(table, to_pandas_kwargs={"use_threads": False})


def _arrow_file(file: "IO[bytes]", section: "list[int]") -> Any:
    """A section of the file, mapped read-only, for Arrow to read from without a copy."""
    import pyarrow  # noqa: PLC0415

    offset, length = section
    begin = offset - offset % mmap.ALLOCATIONGRANULARITY
    memory = mmap.mmap(file.fileno(), offset + length - begin, access=mmap.ACCESS_READ, offset=begin)
    return pyarrow.BufferReader(pyarrow.py_buffer(memory).slice(offset - begin, length))


def _assembled(parts: "list[tuple[Any, Any]]", index: Any, columns: Any) -> Any:
    """A DataFrame of these blocks, each an array with the positions of its columns, as PyArrow makes them."""
    try:
        internals = importlib.import_module("pandas.api.internals")
    except ImportError:  # pandas 2
        internals = importlib.import_module("pandas.core.internals")
        blocks = [internals.make_block(array, placement=where) for array, where in parts]
        manager = internals.BlockManager(blocks, [columns, index])
        kind: Any = importlib.import_module("pandas").DataFrame
        return kind._from_mgr(manager, manager.axes) if hasattr(kind, "_from_mgr") else kind(manager)
    return internals.create_dataframe_from_blocks(parts, index=index, columns=columns)
