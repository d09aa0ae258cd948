"""Pack ids and numbers as bytes, the result of most parsers: a u32 count, the offsets of the ids, the ids, the numbers.

All are little-endian: i32 offsets, one more than there are rows, into the UTF-8 texts; float64 numbers.
"""

import struct

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from predictd.domain.errors import InvalidInputError

Columns = tuple[pa.StringArray, NDArray[np.float64]]
"""Ids without nulls, and their numbers."""

_COUNT = struct.Struct("<I")


def columns_size(rows: int, ids_bytes: int) -> int:
    """Return the maximum size of packed columns with this number of rows and bytes of ids."""
    return _COUNT.size + 4 * (rows + 1) + ids_bytes + 8 * rows


def pack_columns(ids: pa.StringArray, values: NDArray[np.float64]) -> list[bytes | memoryview]:
    """Pack two columns of the same length."""
    lengths = np.zeros(len(ids) + 1, dtype="<i4")
    if len(ids):
        lengths[1:] = pc.binary_length(ids).to_numpy(zero_copy_only=False)
    offsets = lengths.cumsum(dtype="<i4")
    _, buffer_offsets, texts = ids.buffers()
    first = np.frombuffer(buffer_offsets, dtype="<i4", count=1, offset=4 * ids.offset)[0] if len(ids) else 0
    blob = memoryview(texts)[first : first + int(offsets[-1])] if texts is not None else b""
    return [_COUNT.pack(len(ids)), memoryview(offsets), blob, memoryview(values.astype("<f8", copy=False))]


def unpack_columns(content: bytes, max_rows: int) -> Columns:
    """Unpack columns of at most `max_rows` rows: ids without nulls, and float64 numbers; values are not validated.

    Raises:
        InvalidInputError: The bytes are not packed columns, because the parser process was compromised.
    """
    try:
        (count,) = _COUNT.unpack_from(content)
        offsets = np.frombuffer(content, dtype="<i4", count=count + 1, offset=_COUNT.size)
        texts_at = _COUNT.size + 4 * (count + 1)
        size = int(offsets[-1])
        if count > max_rows or offsets[0] != 0 or size < 0 or texts_at + size + 8 * count != len(content):
            raise ValueError("the sizes do not add up")
        buffer = pa.py_buffer(content)
        ids = pa.StringArray.from_buffers(
            count, buffer.slice(_COUNT.size, 4 * (count + 1)), buffer.slice(texts_at, size)
        )
        ids.validate(full=True)
        values = np.frombuffer(content, dtype="<f8", count=count, offset=texts_at + size).astype(np.float64)
    except (ValueError, struct.error) as error:  # Arrow's errors are ValueErrors, too
        raise InvalidInputError(f"The file can't be read: its parser returned no columns ({error}).") from error
    return ids, values
