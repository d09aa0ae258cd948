"""Tables: a forest compiled for evaluation, as bytes that identify their format and model.

One model's tables: 16 bytes of magic, version u32, zero u32, length of the body u64, the model's fingerprint (32
bytes), SHA-256 of these 64 bytes and the body (32 bytes), 32 zero bytes, the body (`native/trees/trees.h`).
Little-endian. Tables of several models are concatenated.
"""

from __future__ import annotations

import ctypes
import hashlib
import struct
from typing import TYPE_CHECKING

from .errors import TablesError, UnsupportedModelError
from .native import ForestArrays, library

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .forest import Forest

    Buffer = bytes | bytearray | memoryview

MAGIC = b"predictd trees\n\0"
VERSION = 2
NO_FINGERPRINT = bytes(32)
HEADER = struct.Struct("<16sIIQ32s")
HEADER_LENGTH = 128
_ERROR_LENGTH = 256


def compile_forest(forest: Forest, *, fingerprint: bytes = NO_FINGERPRINT) -> bytes:
    """Compile a forest into tables, at about 4 µs a tree of 31 leaves.

    Raises UnsupportedModelError for a tree of more than 65,536 leaves, or nodes that do not form trees.
    """
    import numpy as np  # noqa: PLC0415

    integers: dict[str, NDArray[np.int32]] = {
        name: np.ascontiguousarray(getattr(forest, name), dtype=np.int32)
        for name in ("roots", "outputs_of", "feature", "threshold", "left", "right")
    }
    doubles: dict[str, NDArray[np.float64]] = {
        name: np.ascontiguousarray(getattr(forest, name), dtype=np.float64) for name in ("values", "start")
    }
    trees, nodes = len(integers["roots"]), len(integers["feature"])
    if len(integers["outputs_of"]) != trees or any(len(integers[n]) != nodes for n in ("threshold", "left", "right")):
        raise UnsupportedModelError("the forest's arrays have different lengths")
    arrays = ForestArrays(
        features=forest.features,
        low=forest.low,
        high=forest.high,
        single=forest.single,
        outputs=len(doubles["start"]),
        trees=trees,
        nodes=nodes,
        leaves=len(doubles["values"]),
        **{name: array.ctypes.data for name, array in integers.items()},
        **{name: array.ctypes.data for name, array in doubles.items()},
    )
    return compile_arrays(arrays, fingerprint)


def compile_arrays(arrays: ForestArrays, fingerprint: bytes) -> bytes:
    """Compile a forest whose arrays are in memory. Raises UnsupportedModelError."""
    length = ctypes.c_int64()
    error = ctypes.create_string_buffer(_ERROR_LENGTH)
    address = library().trees_compile(ctypes.byref(arrays), ctypes.byref(length), error, _ERROR_LENGTH)
    if not address:
        raise UnsupportedModelError(error.value.decode())
    try:
        body = memoryview((ctypes.c_uint8 * length.value).from_address(address)).cast("B")
        head = HEADER.pack(MAGIC, VERSION, 0, length.value, fingerprint)
        return b"".join((head, _digest(head, body), bytes(32), body))
    finally:
        library().trees_free(address)


def _digest(head: Buffer, body: Buffer) -> bytes:
    digest = hashlib.sha256(head)
    digest.update(body)
    return digest.digest()


def read_header(tables: Buffer) -> tuple[bytes, int]:
    """Return the fingerprint and total length of the tables at the start of `tables`. Raises TablesError."""
    if len(tables) < HEADER_LENGTH:
        raise TablesError("The tree tables are truncated.")
    magic, version, zero, length, fingerprint = HEADER.unpack_from(tables)
    if magic != MAGIC or zero or any(tables[96:HEADER_LENGTH]):
        raise TablesError("These are not tree tables, or they are damaged.")
    if version != VERSION:
        raise TablesError(
            f"The tree tables have format {version}, but this version of predictd reads format {VERSION}."
        )
    if length > len(tables) - HEADER_LENGTH or length % 64:
        raise TablesError("The tree tables are truncated.")
    return fingerprint, HEADER_LENGTH + length


def verify(tables: Buffer, fingerprint: bytes | None = None) -> memoryview:
    """Verify one model's tables and return their body. Raises TablesError for damaged tables."""
    view = memoryview(tables).cast("B")
    stored_fingerprint, length = read_header(view)
    if length != len(view):
        raise TablesError("The tree tables have bytes after their end.")
    if fingerprint is not None and stored_fingerprint != fingerprint:
        raise TablesError("The tree tables belong to another model.")
    if _digest(view[:64], view[HEADER_LENGTH:]) != bytes(view[64:96]):
        raise TablesError("The tree tables are damaged: their content does not match their SHA-256.")
    return view[HEADER_LENGTH:]


def pack(tables: dict[bytes, Buffer]) -> bytes:
    """Return the content of a file with the tables of several models; `unpack` reads it."""
    return b"".join(tables.values())


def unpack(content: Buffer) -> dict[bytes, Buffer]:
    """Return tables by fingerprint, not copied and not yet verified. Raises TablesError for a damaged header."""
    view = memoryview(content).cast("B")
    tables: dict[bytes, Buffer] = {}
    while len(view):
        fingerprint, length = read_header(view)
        tables[fingerprint] = view[:length]
        view = view[length:]
    return tables
