"""Copies of files that somebody else may be writing to."""

import os
from collections.abc import Callable
from pathlib import Path

from predictd.domain.errors import InvalidInputError

_ATTEMPTS = 3
_BLOCK = 8 * 1024 * 1024


def copy_settled(source: Path, target: Path, advance: Callable[[int], None] = lambda _: None) -> None:
    """Copy one file as it was at one moment; `advance(n)` is told of every n bytes.

    Never a hard link: a download that writes the source anew in place would change the copy with it. When the source
    changes or is replaced while it is copied, the copy starts again; InvalidInputError when it does not settle.
    """
    for _ in range(_ATTEMPTS):
        with source.open("rb") as reader, target.open("wb") as writer:
            before = os.fstat(reader.fileno())
            copied = 0
            while block := reader.read(_BLOCK):
                writer.write(block)
                copied += len(block)
                advance(len(block))
            if _same(before, os.fstat(reader.fileno())) and _same(before, source.stat()) and copied == before.st_size:
                return
        advance(-copied)
    raise InvalidInputError(f"{source.name} is being written; try again when its download has ended.")


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns) == (
        other.st_dev,
        other.st_ino,
        other.st_size,
        other.st_mtime_ns,
    )
