"""Parse the bytes of a pickle in bounded time and memory, without running any of it."""

import io
import mmap
import pickletools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from predictd.domain.errors import InvalidInputError
from predictd.runner.packages import RecordedVersions
from predictd.runner.pickle_vm import CallResult, Global, Machine, PickleTooLargeError
from predictd.runner.version_scan import flaw_of

MAX_SECONDS = 60.0
_MAX_LISTED = 1_000_000
_MAX_OPCODES = 100_000_000
# Bytes of strings and bytes per parsed object.
_STORED_PER_OBJECT = 256
_MAX_WHOLE = 1 << 20
_SHORT = 128
_MAX_COUNTED_BYTES = 256 << 20
_MAX_BITS = 128
_RELEASE_EVERY = 16 << 20
_HEAD: dict[type, int] = {str: 512 << 10, bytes: 64 << 10}
_MAX_NESTED = 3
_MAX_CONCATENATED = 6
_LOADERS = {"_load_from_bytes", "loads", "load", "_loads"}
_LOADER_PACKAGES = {"torch", "pickle", "_pickle", "cloudpickle", "dill", "joblib"}


class Truncated:
    """A string or bytes too long to store: its length, its beginning and, until it is stored, its end.

    Attributes:
        trees: the trees of a LightGBM model's text, or None if counting takes too long.
    """

    __slots__ = ("head", "size", "tail", "trees")

    def __init__(self, size: int, head: str | bytes, tail: bytes = b"", trees: int | None = None) -> None:
        self.size = size
        self.head = head
        self.tail = tail
        self.trees = trees

    @classmethod
    def of(cls, view: memoryview, kind: type) -> "Truncated":
        """Return the stored part of a string (UTF-8) or of bytes, without copying the whole."""
        head = view[: _HEAD[kind]].tobytes()
        if kind is str:
            is_counted = head.startswith(b"tree\n") and len(view) <= _MAX_COUNTED_BYTES
            trees = _count(view, b"\nTree=") if is_counted else None
            return cls(len(view), head.decode("utf-8", "ignore"), trees=trees)
        return cls(len(view), head, view[-_HEAD[kind] :].tobytes())


def _count(view: memoryview, text: bytes) -> int:
    """Return how often the bytes occur in the view, without copying the whole."""
    total = 0
    for start in range(0, len(view), _RELEASE_EVERY):
        total += view[start : start + _RELEASE_EVERY + len(text) - 1].tobytes().count(text)
        _release(view)
    return total


def _release(view: memoryview) -> None:
    """Release the memory of the pages read from a mapped file; they are read again on demand."""
    if isinstance(view.obj, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        view.obj.madvise(mmap.MADV_DONTNEED)


@dataclass(kw_only=True)
class ParsedPickle:
    """The contents of one pickle, from its opcodes.

    Attributes:
        size: bytes of the file.
        top: the pickled object, or None if the pickle is damaged.
        globals, calls: every name that unpickling looks up, and every call that it makes.
        protocol: of the pickle.
        versions: package -> version, for packages that record theirs in a pickle.
        flaw: why it is not a complete pickle, as a failure code and a detail, or None.
        complete: whether all of it was read within the limits of time and memory.
        nested: the pickles inside its bytes, as torch stores tensors.
        behind: bytes after the pickle's end.
        names_outside: whether it refers to objects outside of it, which only their own loader finds.
    """

    size: int
    top: Any = None
    globals: list[Global] = field(default_factory=list)
    calls: list[CallResult] = field(default_factory=list)
    protocol: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    flaw: tuple[str, str] | None = None
    complete: bool = True
    nested: "list[ParsedPickle]" = field(default_factory=list)
    behind: int = 0
    names_outside: bool = False


def read_pickle(source: Path | bytes, seconds: float = MAX_SECONDS, budget: int | None = None) -> ParsedPickle:
    """Parse a file or its bytes for at most about `seconds`; never raises because of the contents.

    Args:
        source: the file or its bytes.
        seconds: the time limit.
        budget: the maximum number of objects, including items of lists and dicts, each of which takes up to 0.5 kB of
            memory; beyond it the result is incomplete. None for no limit.

    Raises:
        InvalidInputError: the path cannot be opened or is not a file.
    """
    deadline = time.monotonic() + seconds
    if isinstance(source, bytes):
        return _Parser(deadline, budget).read(memoryview(source))
    with _mapped(source) as view:
        return _Parser(deadline, budget).read(view)


@contextmanager
def _mapped(path: Path) -> Iterator[memoryview]:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ValueError("it is not a file")
        with path.open("rb") as file:
            if file.seek(0, io.SEEK_END) == 0:
                yield memoryview(b"")
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
                yield view
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInputError(f"{path} can't be read: {reason}. Give the path of a pickle.") from error


class _Stream:
    """The part of the file interface that pickletools uses; never returns more bytes than there are."""

    def __init__(self, view: memoryview, position: int = 0) -> None:
        self._view = view
        self._position = self._released = position

    def read(self, size: int) -> bytes:
        return self.view(size).tobytes()

    def view(self, size: int) -> memoryview:
        """Return the next bytes without a copy."""
        if size < 0:
            raise ValueError("a length below zero")
        if self._position - self._released > _RELEASE_EVERY:
            self._released = self._position
            _release(self._view)
        part = self._view[self._position : self._position + size]
        self._position += len(part)
        return part

    def readline(self) -> bytes:
        line = bytearray()
        while len(line) <= _MAX_WHOLE:
            part = self._view[self._position : self._position + 4096].tobytes()
            end = part.find(b"\n") + 1
            line += part[:end] if end else part
            self._position += end or len(part)
            if end or not part:
                return bytes(line)
        raise PickleTooLargeError

    def tell(self) -> int:
        return self._position


_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
# Opcodes with a length in the file: the bytes of the length, and the type of the value. Numbers that long are skipped.
_SIZED: dict[str, tuple[int, type | None]] = {
    "BINSTRING": (4, bytes),
    "BINUNICODE": (4, str),
    "BINUNICODE8": (8, str),
    "BINBYTES": (4, bytes),
    "BINBYTES8": (8, bytes),
    "BYTEARRAY8": (8, bytes),
    "LONG4": (4, None),
}


def _opcodes(stream: _Stream) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int]]:
    """Yield what pickletools.genops yields, but long strings and bytes as `Truncated`, and long numbers as None.

    Raises:
        ValueError: the bytes are not a complete pickle.
    """
    while True:
        position = stream.tell()
        code = stream.read(1)
        opcode = _OPCODES.get(code)
        if opcode is None:
            if not code:
                raise ValueError("pickle exhausted before seeing STOP")
            raise ValueError(f"at position {position}, opcode {code!r} unknown")
        argument: Any = None
        if opcode.name in _SIZED:
            argument = _sized(stream, opcode, *_SIZED[opcode.name])
        elif opcode.arg is not None:
            argument = opcode.arg.reader(stream)  # type: ignore[arg-type]
            if isinstance(argument, int) and argument.bit_length() > _MAX_BITS:
                argument = None
        yield opcode, argument, position
        if code == b".":
            return


def _sized(stream: _Stream, opcode: pickletools.OpcodeInfo, width: int, kind: type | None) -> Any:
    assert opcode.arg is not None
    length = stream.read(width)
    size = int.from_bytes(length, "little")
    part = stream.view(size)
    if len(part) <= _MAX_WHOLE:
        # Also if it is truncated, which the reader reports.
        return opcode.arg.reader(io.BytesIO(length + part.tobytes()))
    if len(part) < size:
        raise ValueError(f"expected {size} bytes in a {opcode.arg.name}, but only {len(part)} remain")
    return None if kind is None else Truncated.of(part, kind)


class _Parser:
    """Parses one file and the pickles in it, within one limit of time and of stored bytes."""

    def __init__(self, deadline: float, budget: int | None) -> None:
        self._deadline = deadline
        self._budget = budget
        self._bytes_left = (budget or _MAX_LISTED) * _STORED_PER_OBJECT

    def read(self, view: memoryview, depth: int = 0, position: int = 0) -> ParsedPickle:
        """Parse the pickle that starts at `position`."""
        parsed = ParsedPickle(size=len(view))
        machine = Machine(self._store, _MAX_LISTED, self._budget)
        stream = _Stream(view, position)
        recorded = RecordedVersions()
        try:
            parsed.complete = self._walk(stream, machine, recorded, parsed)
            if parsed.complete:
                parsed.top = machine.top
        except (AttributeError, PickleTooLargeError):
            parsed.complete = False
        except Exception as error:  # noqa: BLE001 (the file may hold anything)
            parsed.flaw = flaw_of(view[:32].tobytes(), _described(error))
        parsed.complete = parsed.complete and not machine.is_truncated
        parsed.globals, parsed.calls = machine.globals, machine.calls
        parsed.versions = recorded.versions
        parsed.names_outside = machine.has_external_objects
        parsed.behind = len(view) - stream.tell()
        if depth < _MAX_NESTED:
            parsed.nested = list(self._nested(machine, depth + 1))
        return parsed

    def _walk(self, stream: _Stream, machine: Machine, recorded: RecordedVersions, parsed: ParsedPickle) -> bool:
        for count, (opcode, arg, position) in enumerate(_opcodes(stream)):
            if count % 1024 == 0 and (time.monotonic() > self._deadline or count > _MAX_OPCODES):
                return False
            if opcode.name == "PROTO":
                parsed.protocol = int(arg or 0)
            for part in (arg.head, arg.tail) if isinstance(arg, Truncated) else (arg,):
                recorded.scan(part)
            machine.apply(opcode, arg, position)
        return True

    def _store(self, value: Any) -> Any:
        """Return the stored part of a string or of bytes."""
        stored = Truncated(value.size, value.head, trees=value.trees) if isinstance(value, Truncated) else value
        head = stored.head if isinstance(stored, Truncated) else stored
        if len(head) > _SHORT and len(head) > self._bytes_left:
            return Truncated(stored.size if isinstance(stored, Truncated) else len(stored), head[:0])
        self._bytes_left -= len(head)
        return bytes(stored) if isinstance(stored, bytearray) else stored

    def _nested(self, machine: Machine, depth: int) -> Iterator[ParsedPickle]:
        """Yield the pickles in the bytes that unpickling passes to a function that unpickles."""
        for made in machine.calls:
            function, arguments = made.function, made.arguments
            if not isinstance(function, Global) or function.name not in _LOADERS or not isinstance(arguments, tuple):
                continue
            if str(function.module).partition(".")[0] not in _LOADER_PACKAGES or not arguments:
                continue
            content = arguments[0].head if isinstance(arguments[0], Truncated) else arguments[0]
            if isinstance(content, bytes):
                yield from self._concatenated(content, depth)

    def _concatenated(self, content: bytes, depth: int) -> Iterator[ParsedPickle]:
        position = 0
        for _ in range(_MAX_CONCATENATED):
            parsed = self.read(memoryview(content), depth, position)
            yield parsed
            position = len(content) - parsed.behind
            if parsed.flaw is not None or position >= len(content) or time.monotonic() > self._deadline:
                return


def _described(error: Exception) -> Exception:
    """Return an inconsistent stack as an error in words; the messages of pickletools are words already."""
    if isinstance(error, (IndexError, KeyError, TypeError)):
        words = str(error) if isinstance(error, IndexError) and " in it " in str(error) else ""
        return ValueError(words or "its instructions are inconsistent, so it is damaged or only looks like a pickle")
    return error
