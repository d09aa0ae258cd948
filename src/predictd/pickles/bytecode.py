"""Read imports, names and columns from a function's bytecode, for the Python version that compiled it.

`opcode_names.json` maps opcode numbers to names for each Python version, as its `opcode` module defines them.
"""

import functools
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

from predictd.runner.version_scan import opcode_tables

_NEWER_ATTRIBUTES = ("3.12", "3.13")
_WITH_CACHES = ("3.11", "3.12", "3.13")
_WITH_SETUPS = ("3.8", "3.9", "3.10")
_TWO_AT_ONCE = {
    "LOAD_FAST_LOAD_FAST": ("LOAD_FAST", "LOAD_FAST"),
    "STORE_FAST_LOAD_FAST": ("STORE_FAST", "LOAD_FAST"),
    "STORE_FAST_STORE_FAST": ("STORE_FAST", "STORE_FAST"),
}
_NAMED = {
    "LOAD_GLOBAL", "LOAD_ATTR", "LOAD_NAME", "LOAD_METHOD", "IMPORT_NAME", "IMPORT_FROM", "STORE_NAME", "STORE_GLOBAL",
    "STORE_ATTR",
}  # fmt: skip
_SETTING = {"STORE_GLOBAL", "STORE_DEREF", "STORE_ATTR"}


@dataclass(frozen=True, kw_only=True)
class Code:
    """A code object of a pickle that contains only plain values.

    Attributes:
        arguments: names of the positional arguments.
        keyword_only: names of the keyword-only arguments.
        takes_any: the name of its *args, or None.
        takes_keywords: the name of its **kwargs, or None.
        kind: 'function', 'generator', 'coroutine' or 'async generator'.
        exceptions: the exception table (Python 3.11 and later), else empty.
        shape: the number of arguments of its constructor: 16 or 18.
    """

    name: str
    arguments: tuple[str, ...]
    keyword_only: tuple[str, ...]
    takes_any: str | None
    takes_keywords: str | None
    kind: str
    bytecode: bytes
    constants: tuple[Any, ...]
    names: tuple[str, ...]
    variables: tuple[str, ...]
    cells: tuple[str, ...]
    exceptions: bytes
    shape: int


@dataclass(frozen=True, kw_only=True)
class CodeSummary:
    """What the instructions of one function do.

    Attributes:
        imports: modules that it imports, each with whether a failure would be caught.
        chains: dotted names that it loads, such as 'np.random.rand', with imported names resolved; a variable of the
            function or of an outer function starts with '<name>'.
        columns: (argument, string) where an argument is indexed with a string that the function has not set before.
        guarded: whether it catches exceptions.
        changed: names of globals, variables of outer functions and attributes that it sets.
    """

    imports: tuple[tuple[str, bool], ...]
    chains: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    guarded: bool
    changed: frozenset[str]


Instruction = tuple[int, str, int]


class Step(NamedTuple):
    """One instruction.

    Attributes:
        offset: of its opcode, after any EXTENDED_ARG.
        name: empty for opcodes that are ignored.
        end: the offset after its inline caches, the base of relative jumps.
    """

    offset: int
    name: str
    argument: int
    end: int


@functools.cache
def _names() -> dict[str, dict[int, str]]:
    text = (resources.files("predictd.pickles") / "opcode_names.json").read_text(encoding="ascii")
    return {version: {number: name for name, number in names.items()} for version, names in json.loads(text).items()}


def steps(code: Code, version: str) -> Iterator[Step]:
    """Yield the instructions of the bytecode without caches and EXTENDED_ARG."""
    names, caches = _names()[version], opcode_tables()[version]["caches"]
    position = argument = 0
    while position + 1 < len(code.bytecode):
        number = code.bytecode[position]
        argument = (argument << 8 | code.bytecode[position + 1]) & 0xFFFFFFFF
        name = names.get(number, "")
        end = position + 2
        if name != "EXTENDED_ARG":
            end += 2 * caches.get(str(number), 0)
            if name != "CACHE":
                yield Step(position, name, argument, end)
            argument = 0
        position = end


def instructions(code: Code, version: str) -> Iterator[Instruction]:
    """Yield the offset, name and argument of each instruction, with combined instructions split; '' names ignored
    ones.
    """
    for position, name, argument, _ in steps(code, version):
        if name in _TWO_AT_ONCE:
            first, second = _TWO_AT_ONCE[name]
            yield position, first, argument >> 4
            yield position, second, argument & 15
        else:
            yield position, name, argument


class _CodeVisitor:
    """Visits a function's instructions once."""

    def __init__(self, code: Code, version: str) -> None:
        self._code = code
        self._version = version
        self._guards = guarded_ranges(code, version)
        self._chain: list[str] = []
        self._aliases: dict[str, str] = {}
        self._importing: str | None = None
        self._from: bool = False
        self._before: list[tuple[str, Any]] = []
        self.imports: list[tuple[str, bool]] = []
        self.chains: dict[str, None] = {}
        self._indexed: dict[tuple[str, str], None] = {}
        self._changed: set[str] = set()
        self._set: set[str] = set()
        self.stored: set[str] = set()

    @property
    def columns(self) -> list[tuple[str, str]]:
        return [column for column in self._indexed if column[0] not in self._changed and column[1] not in self._set]

    @property
    def guarded(self) -> bool:
        return bool(self._guards)

    def run(self) -> None:
        for offset, name, argument in instructions(self._code, self._version):
            value = value_of(self._code, self._version, name, argument)
            self._visit_import(offset, name, value)
            self._visit_load(name, value)
            if name == "BINARY_SUBSCR":
                self._visit_subscript()
            self._visit_store(name, value)
            self._before = [*self._before[-2:], (name, value)]
        self._end_chain()

    def _visit_import(self, offset: int, name: str, value: Any) -> None:
        if name == "IMPORT_NAME" and isinstance(value, str):
            level = self._before[-2][1] if len(self._before) > 1 else 0
            if level == 0 or not isinstance(level, int):
                self.imports.append((value, any(start <= offset < end for start, end in self._guards)))
            self._importing = value
            self._from = bool(self._before) and self._before[-1][1] is not None
        elif name == "IMPORT_FROM" and self._importing is not None and isinstance(value, str) and self._from:
            self._importing = f"{self._importing.partition(':')[0]}:{value}"
        elif name.startswith("STORE_") and self._importing is not None and isinstance(value, str):
            module, colon, _ = self._importing.partition(":")
            top = module.partition(".")[0]
            # `import a.b` binds a; `import a.b as c` and `from a import b` bind the full name.
            self._aliases[value] = top if value == top and not colon else self._importing.replace(":", ".")
            self._importing = module if colon else None

    def _visit_load(self, name: str, value: Any) -> None:
        if name in ("LOAD_ATTR", "LOAD_METHOD") and self._chain and isinstance(value, str):
            self._chain.append(value)
            return
        self._end_chain()
        if name in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FAST", "LOAD_DEREF") and isinstance(value, str):
            first = value if name in ("LOAD_GLOBAL", "LOAD_NAME") else f"<{value}>"
            self._chain = [self._aliases.get(value, first)]
        elif name in ("BINARY_SUBSCR", "CALL", "CALL_FUNCTION", "CALL_METHOD", "CALL_FUNCTION_KW", "CALL_KW"):
            self._chain = [""]

    def _end_chain(self) -> None:
        if self._chain and self._chain != [""]:
            self.chains[".".join(self._chain)] = None
        self._chain = []

    def _visit_subscript(self) -> None:
        """Record `argument["text"]`, which loads the argument, then the string."""
        if len(self._before) < 2:
            return
        (first, owner), (second, column) = self._before[-2:]
        if first == "LOAD_FAST" and second == "LOAD_CONST" and owner in self._code.arguments:
            columns = column if isinstance(column, tuple) else (column,)
            self._indexed.update(
                {(owner, column_name): None for column_name in columns if isinstance(column_name, str)}
            )

    def _visit_store(self, name: str, value: Any) -> None:
        """Record a replaced argument or a set column, which no longer shows what the data must have."""
        if name in _SETTING and isinstance(value, str):
            self.stored.add(value)
        if name == "STORE_FAST" and isinstance(value, str):
            self._changed.add(value)
        elif name in ("LOAD_ATTR", "LOAD_METHOD") and value in ("insert", "update", "eval") and self._before:
            self._changed.add(str(self._before[-1][1]))
        elif name == "STORE_SUBSCR" and self._before and isinstance(self._before[-1][1], str):
            self._set.add(self._before[-1][1])


def value_of(code: Code, version: str, name: str, argument: int) -> Any:
    """Return the constant or the name that an instruction's argument refers to."""
    newer = version in _WITH_CACHES
    if name == "LOAD_CONST":
        return _at(code.constants, argument)
    if name in ("LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_AND_CLEAR", "STORE_FAST", "DELETE_FAST"):
        return _at(code.variables, argument)
    if name in ("LOAD_DEREF", "STORE_DEREF"):
        return _at(_deref_names(code) if newer else code.cells, argument)
    shifted = (name == "LOAD_GLOBAL" and newer) or (name == "LOAD_ATTR" and version in _NEWER_ATTRIBUTES)
    return _at(code.names, argument >> 1 if shifted else argument) if name in _NAMED else argument


def summarize_code(code: Code, version: str) -> CodeSummary:
    """Summarize a function's own instructions for a Python version, '3.8' to '3.13'."""
    visitor = _CodeVisitor(code, version)
    visitor.run()
    return CodeSummary(
        imports=tuple(visitor.imports),
        chains=tuple(visitor.chains),
        columns=tuple(visitor.columns),
        guarded=visitor.guarded,
        changed=frozenset(visitor.stored),
    )


def handlers(code: Code) -> list[tuple[int, int, int]]:
    """Return the byte offsets (start, end) that each exception handler covers, and of the handler (Python 3.11 and
    later).
    """
    numbers: list[int] = []
    value = 0
    for byte in code.exceptions:
        value = value << 6 | byte & 63
        if not byte & 64:
            numbers.append(value)
            value = 0
    entries = (numbers[index : index + 3] for index in range(0, len(numbers) - 3, 4))
    return [(2 * start, 2 * (start + length), 2 * target) for start, length, target in entries]


def guarded_ranges(code: Code, version: str) -> list[tuple[int, int]]:
    """Return the byte offsets (start, end) of each try block; `with` blocks and handlers let exceptions through."""
    entries = handlers(code)
    if version in _WITH_SETUPS:
        unit = 2 if version == "3.10" else 1
        names_at = {step.offset: step.name for step in steps(code, version)}
        set_up = [step for step in steps(code, version) if step.name == "SETUP_FINALLY"]
        ranges = [(step.offset, step.end + unit * step.argument) for step in set_up]
        # An except block starts by inspecting or dropping the exception, a finally block with its own code.
        return [(start, end) for start, end in ranges if names_at.get(end) in ("DUP_TOP", "POP_TOP")]
    if not entries:
        return []
    names = [(offset, name) for offset, name, _ in instructions(code, version)]
    catching = {
        offset
        for (offset, name), (_, following) in itertools.pairwise(names)
        if name == "PUSH_EXC_INFO" and following != "WITH_EXCEPT_START"
    }
    return [(start, end) for start, end, target in entries if target in catching]


def _deref_names(code: Code) -> tuple[str, ...]:
    """Return variables and cells in their common numbering of Python 3.11 and later; an argument that is a cell comes
    once.
    """
    return (*code.variables, *(name for name in code.cells if name not in code.variables))


def _at(values: tuple[Any, ...], number: int) -> Any:
    return values[number] if number < len(values) else None
