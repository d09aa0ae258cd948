"""Small files and endless bodies that a careless reader takes gigabytes for."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MIB = 1 << 20


def huge_footer(value: str) -> bytes:
    """A footer of 120,000 column chunks."""
    columns = {"id": pa.array(["a"]), value: pa.array([0.5])}
    table = pa.table(columns | {f"column_{number}": pa.array([1.0]) for number in range(398)})
    buffer = io.BytesIO()
    with pq.ParquetWriter(
        buffer, table.schema, compression="none", use_dictionary=False, write_statistics=False
    ) as out:
        for _ in range(300):
            out.write_table(table)
    return buffer.getvalue()


def lying_size(value: str) -> bytes:
    """Texts of 800 MB in some ten thousand bytes, whose footer tells that they take one."""
    content = _parquet(value, ["x" * (2 * MIB)] * 400, use_dictionary=False)
    truth = pq.read_metadata(io.BytesIO(content)).row_group(0).total_byte_size
    told = _varint(2 * truth)
    # The same number of bytes, which is a way to write a smaller number.
    lie = b"\x82" + b"\x80" * (len(told) - 2) + b"\x00"
    assert content.count(told) >= 1
    lying = content.replace(told, lie)
    assert pq.read_metadata(io.BytesIO(lying)).row_group(0).total_byte_size == 1
    return lying


def repeated_text(value: str) -> bytes:
    """One text of 200 kB in a dictionary, for each of 10,000 rows."""
    return _parquet(value, ["x" * 200_000] * 10_000)


def many_rows(value: str) -> bytes:
    """Three million rows, all the same."""
    return _parquet(value, ["x" * 16] * 3_000_000)


def endless_row(value: str) -> bytes:
    """A row of CSV in quotes that are never closed."""
    return f'id,{value}\n"'.encode() + b"a" * (100 * MIB)


def endless_header(_: str) -> bytes:
    """A header of fifty million columns."""
    return b"," * (50 * MIB)


def deep_json(_: str = "") -> bytes:
    """Brackets in brackets."""
    return b"[" * (32 * MIB)


def zipped_zeros(_: str) -> bytes:
    """A CSV of a gigabyte, compressed to a megabyte."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as file:
        for _ in range(256):
            file.write(b"n,0.5\n" * (4 * MIB // 6))
    return buffer.getvalue()


UPLOADS: tuple[Callable[[str], bytes], ...] = (
    huge_footer,
    lying_size,
    repeated_text,
    many_rows,
    endless_row,
    endless_header,
    deep_json,
    zipped_zeros,
)
"""Files of the columns id and the one that is named."""


def sparse_tar(path: Path, name: str, size: int) -> None:
    """A tar with one sparse file of zeros, in the format of GNU tar, that claims `size` bytes."""
    info = tarfile.TarInfo(name)
    info.type = tarfile.GNUTYPE_SPARSE
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    # One empty part at the end, and the size that the file seems to have.
    head[386:398], head[398:410] = b"%011o\x00" % size, b"%011o\x00" % 0
    head[483:495] = b"%011o\x00" % size
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\x00 " % sum(head)
    path.write_bytes(bytes(head) + b"\x00" * 1024)
    with tarfile.open(path) as tar:
        assert tar.getmember(name).size == size


BOUNDARY = "bomb"
BODIES: dict[str, tuple[str, Callable[[], Iterator[bytes]]]] = {
    "deep JSON": ("application/json", lambda: _endless(b"")),
    "a form of one value": ("application/x-www-form-urlencoded", lambda: _endless(b"name=", b"a")),
    "a form of many values": ("application/x-www-form-urlencoded", lambda: _endless(b"", b"a=1&")),
    "a field without end": (
        f"multipart/form-data; boundary={BOUNDARY}",
        lambda: _endless(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="key"\r\n\r\n'.encode(), b"a"),
    ),
    "a header without end": (
        f"multipart/form-data; boundary={BOUNDARY}",
        lambda: _endless(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="'.encode(), b"a"),
    ),
    "many fields": (
        f"multipart/form-data; boundary={BOUNDARY}",
        lambda: _endless(b"", f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'.encode()),
    ),
}
"""What is sent to every route, in chunks and without end: its type, and its content."""


def mcp_call(size: int) -> bytes:
    """A call of a tool with an argument of that many bytes."""
    call = {"name": "get_models", "arguments": {"query": "x" * size}}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}).encode()


def _endless(start: bytes, unit: bytes = b"[") -> Iterator[bytes]:
    yield start or unit
    block = unit * (MIB // len(unit))
    while True:
        yield block


def _parquet(value: str, ids: list[str], *, use_dictionary: bool = True) -> bytes:
    buffer = io.BytesIO()
    table = pa.table({"id": ids, value: np.full(len(ids), 0.5)})
    pq.write_table(table, buffer, use_dictionary=use_dictionary, compression="zstd")
    return buffer.getvalue()


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def pickles() -> Iterator[bytes]:
    """Pickles whose opcodes claim much, or describe more than any model has."""
    ints = b"J\x01\x02\x03\x04"
    claimed, long_text = (1 << 40).to_bytes(8, "little"), 100 * MIB
    yield b"\x80\x04\x8e" + claimed
    yield b"\x80\x04\x8b" + long_text.to_bytes(4, "little") + b"\x01" * long_text + b"."
    yield b"\x80\x04\x8d" + long_text.to_bytes(8, "little") + b"tree\n" + b"a" * (long_text - 5) + b"."
    yield b"V" + b"a" * long_text + b"\n."
    for part, times in (
        (b"(", 20 * MIB),
        (b"]\x94", 10 * MIB),
        (b"K\x01\x85", 4 * MIB),
        (b"}", 4 * MIB),
        (b"cbuiltins\nlist\n", 2 * MIB),
        (b"cbuiltins\nlist\n)R", MIB),
        (b"X\x00\x10\x00\x00" + b"a" * 4096, 25_000),
        (b"\x8a\xff" + b"\x01" * 255, 200_000),
        (b"](" + ints * 19_000 + b"e", 200),
    ):
        yield b"\x80\x04(" + part * times + b"l."
