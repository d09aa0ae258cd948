"""The bytes of a pickle, read into descriptions in bounded time and memory; nothing in them is ever run."""

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

MOST_SECONDS = 60.0
_MOST_LISTED = 1_000_000
_MOST_OPCODES = 100_000_000
# Of texts and bytes, for each object that may be described.
_KEPT_PER_OBJECT = 256
_WHOLE = 1 << 20
_SHORT = 128
_MOST_COUNTED = 256 << 20
_MOST_BITS = 128
_RELEASED = 16 << 20
_HEAD: dict[type, int] = {str: 512 << 10, bytes: 64 << 10}
_MOST_NESTED = 3
_MOST_IN_A_ROW = 6
_LOADERS = {"_load_from_bytes", "loads", "load", "_loads"}
_LOADING = {"torch", "pickle", "_pickle", "cloudpickle", "dill", "joblib"}


class Long:
    """A text or bytes too long to keep: its length, its beginning and, until it is kept, its end.

    Attributes:
        trees: how many trees the text of a LightGBM model lists; None where that takes too long to count.
    """

    __slots__ = ("head", "size", "tail", "trees")

    def __init__(self, size: int, head: str | bytes, tail: bytes = b"", trees: int | None = None) -> None:
        self.size = size
        self.head = head
        self.tail = tail
        self.trees = trees

    @classmethod
    def of(cls, view: memoryview, kind: type) -> "Long":
        """What is kept of a text (UTF-8) or of bytes, which is never copied as a whole."""
        head = view[: _HEAD[kind]].tobytes()
        if kind is str:
            is_counted = head.startswith(b"tree\n") and len(view) <= _MOST_COUNTED
            trees = _count(view, b"\nTree=") if is_counted else None
            return cls(len(view), head.decode("utf-8", "ignore"), trees=trees)
        return cls(len(view), head, view[-_HEAD[kind] :].tobytes())


def _count(view: memoryview, text: bytes) -> int:
    """How often the text is in the view, which is never copied as a whole."""
    found = 0
    for start in range(0, len(view), _RELEASED):
        found += view[start : start + _RELEASED + len(text) - 1].tobytes().count(text)
        _release(view)
    return found


def _release(view: memoryview) -> None:
    """Give back the memory of what was read of a mapped file; it is read again where it is needed."""
    if isinstance(view.obj, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        view.obj.madvise(mmap.MADV_DONTNEED)


@dataclass(kw_only=True)
class Reading:
    """What the opcodes of one pickle describe.

    Attributes:
        size: bytes of the file.
        top: the pickled object; None when the pickle is damaged.
        globals, made: every name that unpickling looks up, and every call that it makes.
        protocol: of the pickle.
        versions: package -> version, for those that leave theirs in a pickle.
        flaw: why it is no whole pickle, as a failure code and a detail; None when it is one.
        complete: whether all of it was read, and not only as far as time and memory are given.
        nested: the pickles inside of its bytes, as torch keeps storages.
        behind: bytes behind the pickle's end.
        names_outside: whether it names objects that are kept outside of it, which only their own loader finds.
    """

    size: int
    top: Any = None
    globals: list[Global] = field(default_factory=list)
    made: list[CallResult] = field(default_factory=list)
    protocol: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    flaw: tuple[str, str] | None = None
    complete: bool = True
    nested: "list[Reading]" = field(default_factory=list)
    behind: int = 0
    names_outside: bool = False


def read_pickle(source: Path | bytes, seconds: float = MOST_SECONDS, budget: int | None = None) -> Reading:
    """Read a file or its bytes for at most about `seconds`; never raises for what they hold.

    Args:
        source: the file or its bytes.
        seconds: how long it may take.
        budget: how many objects may be described, items of lists and dicts among them, each of which takes up to 0.5 kB
            of memory; beyond it the reading is not complete. None for any number.

    Raises:
        InvalidInputError: the file can't be opened or is no file.
    """
    deadline = time.monotonic() + seconds
    if isinstance(source, bytes):
        return _Reader(deadline, budget).read(memoryview(source))
    with _mapped(source) as view:
        return _Reader(deadline, budget).read(view)


@contextmanager
def _mapped(path: Path) -> Iterator[memoryview]:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ValueError("it is no file")
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
    """The part of a file that pickletools wants; never hands out more than there is."""

    def __init__(self, view: memoryview, position: int = 0) -> None:
        self._view = view
        self._position = self._released = position

    def read(self, size: int) -> bytes:
        return self.view(size).tobytes()

    def view(self, size: int) -> memoryview:
        """The next bytes, without a copy."""
        if size < 0:
            raise ValueError("a length below zero")
        if self._position - self._released > _RELEASED:
            self._released = self._position
            _release(self._view)
        part = self._view[self._position : self._position + size]
        self._position += len(part)
        return part

    def readline(self) -> bytes:
        line = bytearray()
        while len(line) <= _WHOLE:
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
# What is as long as the file says: the bytes of the length, and what it is a length of. Numbers so long are not read.
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
    """What pickletools.genops gives, but long texts and bytes as `Long`, and long numbers as None.

    Raises:
        ValueError: the bytes are no whole pickle.
    """
    while True:
        place = stream.tell()
        code = stream.read(1)
        opcode = _OPCODES.get(code)
        if opcode is None:
            if not code:
                raise ValueError("pickle exhausted before seeing STOP")
            raise ValueError(f"at position {place}, opcode {code!r} unknown")
        argument: Any = None
        if opcode.name in _SIZED:
            argument = _sized(stream, opcode, *_SIZED[opcode.name])
        elif opcode.arg is not None:
            argument = opcode.arg.reader(stream)  # type: ignore[arg-type]
            if isinstance(argument, int) and argument.bit_length() > _MOST_BITS:
                argument = None
        yield opcode, argument, place
        if code == b".":
            return


def _sized(stream: _Stream, opcode: pickletools.OpcodeInfo, width: int, kind: type | None) -> Any:
    assert opcode.arg is not None
    length = stream.read(width)
    size = int.from_bytes(length, "little")
    part = stream.view(size)
    if len(part) <= _WHOLE:
        # Also where it is cut short, which the reader reports.
        return opcode.arg.reader(io.BytesIO(length + part.tobytes()))
    if len(part) < size:
        raise ValueError(f"expected {size} bytes in a {opcode.arg.name}, but only {len(part)} remain")
    return None if kind is None else Long.of(part, kind)


class _Reader:
    """Reads one file, and the pickles in it, within one bound of time and of what is kept of it."""

    def __init__(self, deadline: float, budget: int | None) -> None:
        self._deadline = deadline
        self._budget = budget
        self._bytes_left = (budget or _MOST_LISTED) * _KEPT_PER_OBJECT

    def read(self, view: memoryview, depth: int = 0, position: int = 0) -> Reading:
        """The pickle that begins there."""
        reading = Reading(size=len(view))
        machine = Machine(self._keep, _MOST_LISTED, self._budget)
        stream = _Stream(view, position)
        recorded = RecordedVersions()
        try:
            reading.complete = self._walk(stream, machine, recorded, reading)
            if reading.complete:
                reading.top = machine.top
        except (AttributeError, PickleTooLargeError):
            reading.complete = False
        except Exception as error:  # noqa: BLE001 (the file may hold anything)
            reading.flaw = flaw_of(view[:32].tobytes(), _told(error))
        reading.complete = reading.complete and not machine.is_truncated
        reading.globals, reading.made = machine.globals, machine.calls
        reading.versions = recorded.versions
        reading.names_outside = machine.has_external_objects
        reading.behind = len(view) - stream.tell()
        if depth < _MOST_NESTED:
            reading.nested = list(self._nested(machine, depth + 1))
        return reading

    def _walk(self, stream: _Stream, machine: Machine, recorded: RecordedVersions, reading: Reading) -> bool:
        for count, (opcode, arg, place) in enumerate(_opcodes(stream)):
            if count % 1024 == 0 and (time.monotonic() > self._deadline or count > _MOST_OPCODES):
                return False
            if opcode.name == "PROTO":
                reading.protocol = int(arg or 0)
            for seen in (arg.head, arg.tail) if isinstance(arg, Long) else (arg,):
                recorded.scan(seen)
            machine.apply(opcode, arg, place)
        return True

    def _keep(self, value: Any) -> Any:
        """What is kept of a text or of bytes."""
        kept = Long(value.size, value.head, trees=value.trees) if isinstance(value, Long) else value
        head = kept.head if isinstance(kept, Long) else kept
        if len(head) > _SHORT and len(head) > self._bytes_left:
            return Long(kept.size if isinstance(kept, Long) else len(kept), head[:0])
        self._bytes_left -= len(head)
        return bytes(kept) if isinstance(kept, bytearray) else kept

    def _nested(self, machine: Machine, depth: int) -> Iterator[Reading]:
        """The pickles in the bytes that unpickling gives to a function that unpickles."""
        for made in machine.calls:
            function, arguments = made.function, made.arguments
            if not isinstance(function, Global) or function.name not in _LOADERS or not isinstance(arguments, tuple):
                continue
            if str(function.module).partition(".")[0] not in _LOADING or not arguments:
                continue
            content = arguments[0].head if isinstance(arguments[0], Long) else arguments[0]
            if isinstance(content, bytes):
                yield from self._in_a_row(content, depth)

    def _in_a_row(self, content: bytes, depth: int) -> Iterator[Reading]:
        position = 0
        for _ in range(_MOST_IN_A_ROW):
            reading = self.read(memoryview(content), depth, position)
            yield reading
            position = len(content) - reading.behind
            if reading.flaw is not None or position >= len(content) or time.monotonic() > self._deadline:
                return


def _told(error: Exception) -> Exception:
    """A stack that does not add up, in words; what pickletools says is words already."""
    if isinstance(error, (IndexError, KeyError, TypeError)):
        words = str(error) if isinstance(error, IndexError) and " in it " in str(error) else ""
        return ValueError(words or "its instructions do not add up, so it was damaged or made to look like a pickle")
    return error
