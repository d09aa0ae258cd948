"""Read UBJSON as XGBoost writes it: sizes before contents, and number arrays as NumPy arrays without a copy."""

from __future__ import annotations

import struct
from typing import Any

_SIZE = struct.Struct(">q")
# Marker -> struct's and NumPy's names of the big-endian number.
_FORMS = {"i": ("b", "i1"), "U": ("B", "u1"), "I": ("h", "i2"), "l": ("i", "i4"), "L": ("q", "i8"), "d": ("f", "f4")}
_FORMS["D"] = ("d", "f8")
_NUMBERS = {ord(marker): struct.Struct(f">{form}") for marker, (form, _) in _FORMS.items()}
_ARRAYS = {ord(marker): f">{form}" for marker, (_, form) in _FORMS.items()}
_CONSTANTS = {ord("Z"): None, ord("T"): True, ord("F"): False}


def loads(data: bytes) -> Any:
    """Return the value in `data`: objects as dicts, strings, numbers, lists, and read-only big-endian arrays.

    Raises ValueError, KeyError, IndexError or struct.error for invalid data.
    """
    from numpy import dtype, frombuffer  # noqa: PLC0415

    types = {code: dtype(form) for code, form in _ARRAYS.items()}

    def value(at: int) -> tuple[Any, int]:
        kind = data[at]
        if kind == ord("{"):
            content: dict[str, Any] = {}
            at += 1
            while data[at] != ord("}"):
                end = at + 9 + size_at(at)
                content[data[at + 9 : end].decode()], at = value(end)
            return content, at + 1
        if kind == ord("[") and data[at + 1] == ord("$"):
            item_type = types[data[at + 2]]
            count = size_at(at + 4)
            at += 13
            return frombuffer(data, item_type, count, at), at + count * item_type.itemsize
        if kind == ord("["):
            items = []
            count = size_at(at + 2)
            at += 11
            for _ in range(count):
                item, at = value(at)
                items.append(item)
            return items, at
        if kind == ord("S"):
            end = at + 10 + size_at(at + 1)
            return data[at + 10 : end].decode(), end
        if kind in _CONSTANTS:
            return _CONSTANTS[kind], at + 1
        number = _NUMBERS[kind]
        return number.unpack_from(data, at + 1)[0], at + 1 + number.size

    def size_at(at: int) -> int:
        """Return the size at a marker `L`, which XGBoost uses for all sizes."""
        size: int = _SIZE.unpack_from(data, at + 1)[0]
        if data[at] != ord("L") or size < 0:
            raise ValueError(f"no size at byte {at}")
        return size

    return value(0)[0]
