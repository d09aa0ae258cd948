"""Factors cached on disk, one file for each era of a data version and set of features."""

import hashlib
import json
import mmap
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from predictd.data.atomic_write import staged_file
from predictd.scoring.metrics.factors import Factor, GramFactor, SpanFactor, factor_of
from predictd.scoring.metrics.features import FeatureMatrix

_MAGIC = b"PREDFAC1"
_PREAMBLE = struct.Struct("<8sQQI")
"""Magic, length of the header, length of the file, CRC-32 of the header."""
_LINE = 64


class FactorCache:
    """A folder of factors by data version, set of features and era; missing factors are computed and stored.

    A file takes about 16 MB for 2748 features and is mapped, not read. A truncated file, or one of other features, is
    recomputed.
    """

    def __init__(self, folder: Path, version: str, names: Sequence[str]) -> None:
        """Open a cache. `version` identifies the data, such as the key of its mapped file; `names` are the ordered
        features.
        """
        digest = hashlib.sha256("\n".join([version, *names]).encode()).hexdigest()[:32]
        self._folder = folder / digest

    def factor(self, era: str, features: FeatureMatrix) -> Factor:
        """Return the factor of an era's features with all its rows; compute and store it if missing."""
        path = self._folder / f"{hashlib.sha256(era.encode()).hexdigest()[:16]}.factor"
        factor = read_factor(path)
        if factor is not None and len(factor.means) == len(features) and factor.rows == features.rows:
            return factor
        return self.renew(era, features)

    def renew(self, era: str, features: FeatureMatrix) -> Factor:
        """Compute the factor again and replace the stored one."""
        factor = factor_of(features)
        path = self._folder / f"{hashlib.sha256(era.encode()).hexdigest()[:16]}.factor"
        write_factor(path, factor)
        return factor


def write_factor(path: Path, factor: Factor) -> None:
    """Write a factor to a file atomically. Raises OSError."""
    arrays = {name: value for name, value in vars(factor).items() if isinstance(value, np.ndarray)}
    layout, offset = {}, 0
    for name, array in arrays.items():
        layout[name] = [array.dtype.str, array.shape, offset]
        offset += -(-array.nbytes // _LINE) * _LINE
    moments = zlib.crc32(factor.lengths.tobytes(), zlib.crc32(factor.means.tobytes()))
    header = {"kind": type(factor).__name__, "rows": factor.rows, "arrays": layout, "moments": moments}
    text = json.dumps(header).encode()
    start = _start(len(text))
    with staged_file(path) as staging, staging.open("wb") as file:
        file.write(_PREAMBLE.pack(_MAGIC, len(text), start + offset, zlib.crc32(text)) + text)
        for name, array in arrays.items():
            file.seek(start + layout[name][2])
            array.tofile(file)
        file.truncate(start + offset)


def read_factor(path: Path) -> Factor | None:
    """Return the factor in a file, with mapped arrays, or None if the file is missing or incomplete."""
    try:
        with path.open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None
    if len(memory) < _PREAMBLE.size:
        return None
    magic, length, size, checksum = _PREAMBLE.unpack_from(memory)
    text = memory[_PREAMBLE.size : _PREAMBLE.size + length]
    if magic != _MAGIC or size != len(memory) or zlib.crc32(text) != checksum:
        return None
    header = json.loads(text)
    start = _start(length)
    arrays: dict[str, Any] = {
        name: np.frombuffer(memory, dtype, int(np.prod(shape)), start + offset).reshape(shape)
        for name, (dtype, shape, offset) in header["arrays"].items()
    }
    if zlib.crc32(arrays["lengths"].tobytes(), zlib.crc32(arrays["means"].tobytes())) != header["moments"]:
        return None
    return GramFactor(rows=header["rows"], **arrays) if header["kind"] == "GramFactor" else SpanFactor(**arrays)


def _start(header: int) -> int:
    return -(-(_PREAMBLE.size + header) // _LINE) * _LINE
