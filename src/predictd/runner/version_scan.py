"""Determine the versions of Python and packages that a pickle was created with, without unpickling it.

A function is pickled as the arguments of CodeType: 16 of them in Python 3.8 to 3.10, 18 from 3.11 on, with the
bytecode among them. The bytecode is matched against the opcode table of each version; the versions that can decode
every function of the file are the candidates. `opcodes.json` holds per version, from its module `opcode`: the
opcodes that it has, the inline caches after each, and the numbers of RESUME, of EXTENDED_ARG and of those that
index the constants.
"""

import functools
import json
import os
import pickletools
import time
from typing import IO, Any

from .packages import RecordedVersions
from .pickle_vm import Machine, PickleTooLargeError

_MAX_BYTECODE = 1 << 20
_MAX_LISTED = 200_000
_ARGUMENTS = {16: ("3.8", "3.9", "3.10"), 18: ("3.11", "3.12", "3.13")}
_TRUNCATED_MESSAGES = ("pickle exhausted", "not enough data", "expected ", "no newline found")
_OTHER_FORMATS = (
    (b"\x1f\x8b", "a gzip file"),
    (b"PK\x03\x04", "a zip file (torch.save and numpy.savez write those)"),
    (b"x\x01", "a zlib file (joblib.dump with compress writes those)"),
    (b"x\x5e", "a zlib file (joblib.dump with compress writes those)"),
    (b"x\x9c", "a zlib file (joblib.dump with compress writes those)"),
    (b"x\xda", "a zlib file (joblib.dump with compress writes those)"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"PAR1", "a parquet file"),
    (b"\x93NUMPY", "a file of numpy.save"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself"),
)

_Table = dict[str, Any]
# For each function: its bytecode, the number of its constants if known, the number of CodeType's arguments.
FunctionCodes = list[tuple[bytes, int | None, int]]


class Scan:
    """The result of scanning a pickle.

    Attributes:
        pythons: versions from 3.8 to 3.13 that can have compiled every function of the file; empty if unknown.
        functions: number of functions in the file.
        packages: package -> [version recorded in the file, version of this runtime], where they differ.
        flaw: why it is not a complete pickle, as a failure code and a detail; None if it may be.
    """

    def __init__(self) -> None:
        self.pythons: list[str] = []
        self.functions = 0
        self.packages: dict[str, list[str]] = {}
        self.flaw: tuple[str, str] | None = None


def scan(file: IO[bytes], seconds: float) -> Scan:
    """Scan the pickle for at most `seconds`; never raise, whatever the file holds."""
    result = Scan()
    codes: FunctionCodes = []
    recorded = RecordedVersions()
    start = file.read(32)
    file.seek(0)
    try:
        _walk(file, codes, recorded, time.monotonic() + seconds)
    except Exception as error:  # noqa: BLE001 (the file may hold anything)
        result.flaw = flaw_of(start, error)
    if codes:
        result.pythons = possible_pythons(codes)
    result.functions = len(codes)
    result.packages = recorded.differences()
    return result


@functools.cache
def opcode_tables() -> dict[str, _Table]:
    """Return `opcodes.json` by version of Python; read once per process and its forks."""
    with open(os.path.join(os.path.dirname(__file__), "opcodes.json"), encoding="ascii") as tables:
        tables_by_version: dict[str, _Table] = json.load(tables)
    return tables_by_version


def flaw_of(start: bytes, error: Exception) -> tuple[str, str]:
    """Return failure code and detail for an invalid pickle, by its first 32 bytes and the raised error."""
    if not start:
        return "not_a_pickle", "it is empty"
    for magic, name in _OTHER_FORMATS:
        if start.startswith(magic):
            return "not_a_pickle", f"it is {name}"
    if start[:1] != b"\x80":
        return "not_a_pickle", f"it begins with {start[:16]!r}"
    if isinstance(error, (MemoryError, OverflowError)):
        return "truncated_pickle", "an object in it claims to be larger than any file"
    if str(error).startswith(_TRUNCATED_MESSAGES):
        return "truncated_pickle", str(error)
    return "not_a_pickle", str(error) or type(error).__name__


def _walk(file: IO[bytes], codes: FunctionCodes, recorded: RecordedVersions, deadline: float) -> None:
    """Read all opcodes; an invalid stack ends the search for functions, not the reading."""
    machine = Machine(
        lambda value: value if isinstance(value, bytes) and len(value) <= _MAX_BYTECODE else None, _MAX_LISTED
    )
    is_invalid = False
    try:
        for count, (opcode, arg, place) in enumerate(pickletools.genops(file)):
            if count % 1024 == 0 and time.monotonic() > deadline:
                return
            recorded.scan(arg)
            if not is_invalid:
                try:
                    machine.apply(opcode, arg, place or 0)
                except (IndexError, KeyError, TypeError, PickleTooLargeError):
                    is_invalid = True
    finally:
        codes.extend(code for call in machine.calls if (code := code_of(call.arguments)) is not None)


def code_of(args: Any) -> tuple[bytes, int | None, int] | None:
    """Return bytecode, number of constants if known, and number of arguments, if these are arguments of CodeType."""
    if not isinstance(args, tuple) or len(args) not in _ARGUMENTS:
        return None
    if not isinstance(args[6], bytes) or not all(isinstance(arg, int) for arg in args[:2]):
        return None
    return args[6], len(args[7]) if isinstance(args[7], tuple) else None, len(args)


def possible_pythons(codes: FunctionCodes) -> list[str]:
    """Return versions that decode every function, or else those whose CodeType takes as many arguments."""
    tables = opcode_tables()
    by_arguments = [version for version in tables if all(version in _ARGUMENTS[size] for _, _, size in codes)]
    decoding = [v for v in by_arguments if all(_decodes(code, constants, tables[v]) for code, constants, _ in codes)]
    return decoding or by_arguments


def _decodes(code: bytes, constants: int | None, table: _Table) -> bool:
    opcodes, caches = set(table["known"]), table["caches"]
    position = argument = 0
    resumed = table["resume"] is None
    while position + 1 < len(code):
        opcode = code[position]
        argument = (argument << 8 | code[position + 1]) & 0xFFFFFFFF
        position += 2
        if opcode not in opcodes:
            return False
        if opcode == table["extended"]:
            continue
        if opcode in table["consts"] and constants is not None and argument >= constants:
            return False
        resumed = resumed or opcode == table["resume"]
        gap = 2 * caches.get(str(opcode), 0)
        if any(code[position : position + gap]):
            return False
        position += gap
        argument = 0
    return resumed and position == len(code)
