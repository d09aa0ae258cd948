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
from predictd.runner.machine import Global, Machine, Made, TooMuch
from predictd.runner.packages import Recorded
from predictd.runner.scan import flaw_of

MOST_SECONDS = 60.0
_MOST_OBJECTS = 1_000_000
_MOST_OPCODES = 100_000_000
_MOST_KEPT = 256 << 20
_WHOLE_TEXT = 1 << 20
_WHOLE_BYTES = 1 << 20
_SHORT = 4096
_HEAD = {str: 512 << 10, bytes: 64 << 10}
_MOST_NESTED = 3
_MOST_IN_A_ROW = 6
_LOADERS = {"_load_from_bytes", "loads", "load", "_loads"}
_LOADING = {"torch", "pickle", "_pickle", "cloudpickle", "dill", "joblib"}


class Long:
    """A text or bytes too long to keep: its length and its beginning.

    Attributes:
        trees: how many trees of LightGBM the whole of it lists.
    """

    __slots__ = ("head", "size", "trees")

    def __init__(self, whole: "str | memoryview | bytes", head: int) -> None:
        self.size = len(whole)
        self.head: str | bytes = whole[:head] if isinstance(whole, str) else bytes(whole[:head])
        self.trees = whole.count("\nTree=") if isinstance(whole, str) else 0


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
    made: list[Made] = field(default_factory=list)
    protocol: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    flaw: tuple[str, str] | None = None
    complete: bool = True
    nested: "list[Reading]" = field(default_factory=list)
    behind: int = 0
    names_outside: bool = False


def read_pickle(source: Path | bytes, seconds: float = MOST_SECONDS) -> Reading:
    """Read a file or its bytes for at most about `seconds`; never raises for what they hold.

    Raises:
        InvalidInputError: the file can't be opened or is no file.
    """
    deadline = time.monotonic() + seconds
    if isinstance(source, bytes):
        return _read(memoryview(source), deadline, 0)
    with _mapped(source) as view:
        return _read(view, deadline, 0)


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
    """The part of a file that pickletools wants; never hands out more than there is, and long parts without a copy."""

    def __init__(self, view: memoryview, position: int = 0) -> None:
        self._view = view
        self._position = position

    def read(self, size: int) -> "bytes | memoryview":
        if size < 0:
            raise ValueError("a length below zero")
        part = self._view[self._position : self._position + size]
        self._position += len(part)
        return part if len(part) > _WHOLE_BYTES else part.tobytes()

    def readline(self) -> bytes:
        line = bytearray()
        while True:
            part = self._view[self._position : self._position + 4096].tobytes()
            end = part.find(b"\n") + 1
            line += part[:end] if end else part
            self._position += end or len(part)
            if end or not part:
                return bytes(line)

    def tell(self) -> int:
        return self._position


class _Keeper:
    """Decides what of the texts and bytes is kept."""

    def __init__(self) -> None:
        self._left = _MOST_KEPT

    def keep(self, value: Any) -> Any:
        kind = str if isinstance(value, str) else bytes
        whole = len(value) <= (_WHOLE_TEXT if kind is str else _WHOLE_BYTES)
        size = len(value) if whole else _HEAD[kind]
        if len(value) > _SHORT and size > self._left:
            return Long(value, 0)
        self._left -= size
        if not whole:
            return Long(value, _HEAD[kind])
        return value if kind is str else bytes(value)


def _read(view: memoryview, deadline: float, depth: int, position: int = 0) -> Reading:
    reading = Reading(size=len(view))
    machine = Machine(_Keeper().keep, _MOST_OBJECTS)
    stream = _Stream(view, position)
    recorded = Recorded()
    try:
        reading.complete = _walk(stream, machine, recorded, reading, deadline)
        if reading.complete:
            reading.top = machine.top
    except (AttributeError, TooMuch):  # pickletools takes the long texts of Python 2 for bytes, and they are a view
        reading.complete = False
    except Exception as error:  # noqa: BLE001 (the file may hold anything)
        reading.flaw = flaw_of(view[:32].tobytes(), _told(error))
    reading.complete = reading.complete and not machine.cut
    reading.globals, reading.made = machine.globals, machine.made
    reading.versions = recorded.versions
    reading.names_outside = machine.names_outside
    reading.behind = len(view) - stream.tell()
    if depth < _MOST_NESTED:
        reading.nested = list(_nested(machine, deadline, depth + 1))
    return reading


def _walk(stream: _Stream, machine: Machine, recorded: Recorded, reading: Reading, deadline: float) -> bool:
    for count, (opcode, arg, place) in enumerate(pickletools.genops(stream)):  # type: ignore[arg-type]
        if count % 1024 == 0 and (time.monotonic() > deadline or count > _MOST_OPCODES):
            return False
        if opcode.name == "PROTO":
            reading.protocol = int(arg or 0)
        if isinstance(arg, memoryview):
            recorded.see(arg[:_WHOLE_BYTES].tobytes())
            recorded.see(arg[-_WHOLE_BYTES:].tobytes())
        else:
            recorded.see(arg)
        machine.apply(opcode, arg, place or 0)
    return True


def _told(error: Exception) -> Exception:
    """A stack that does not add up, in words; what pickletools says is words already."""
    if isinstance(error, (IndexError, KeyError, TypeError)):
        words = str(error) if isinstance(error, IndexError) and " in it " in str(error) else ""
        return ValueError(words or "its instructions do not add up, so it was damaged or made to look like a pickle")
    return error


def _nested(machine: Machine, deadline: float, depth: int) -> Iterator[Reading]:
    """The pickles in the bytes that unpickling gives to a function that unpickles."""
    for made in machine.made:
        function, arguments = made.function, made.arguments
        if not isinstance(function, Global) or function.name not in _LOADERS or not isinstance(arguments, tuple):
            continue
        if str(function.module).partition(".")[0] not in _LOADING or not arguments:
            continue
        content = arguments[0].head if isinstance(arguments[0], Long) else arguments[0]
        if isinstance(content, bytes):
            yield from _in_a_row(content, deadline, depth)


def _in_a_row(content: bytes, deadline: float, depth: int) -> Iterator[Reading]:
    position = 0
    for _ in range(_MOST_IN_A_ROW):
        reading = _read(memoryview(content), deadline, depth, position)
        yield reading
        position = len(content) - reading.behind
        if reading.flaw is not None or position >= len(content) or time.monotonic() > deadline:
            return
