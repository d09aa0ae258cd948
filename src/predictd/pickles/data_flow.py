"""Track what a function calls, reads from its arguments and returns, as far as its instructions show it.

Values are tracked through straight-line code. An unknown instruction and a join of two paths make the whole stack
unknown; a variable is known if it is set once. So everything known holds on every path.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from predictd.pickles.bytecode import Code, Instruction, handlers, instructions, steps, value_of
from predictd.pickles.control_flow import jump_target
from predictd.pickles.pandas_types import combined, result_of_call, result_of_subscript
from predictd.pickles.values import UNKNOWN, Value, constant, extended, sequence

_SKIPPED = {"RESUME", "NOP", "PRECALL", "PUSH_NULL", "MAKE_CELL", "COPY_FREE_VARS", "GEN_START"}
_FAST = {"LOAD_FAST", "LOAD_FAST_CHECK"}
_CALLS = {"CALL", "CALL_FUNCTION", "CALL_METHOD", "CALL_FUNCTION_KW", "CALL_KW"}
_NAMES_ON_TOP = {"CALL_FUNCTION_KW", "CALL_KW"}
_OF_TWO = {
    "BINARY_OP", "BINARY_ADD", "BINARY_SUBTRACT", "BINARY_MULTIPLY", "BINARY_TRUE_DIVIDE", "BINARY_FLOOR_DIVIDE",
    "BINARY_POWER", "BINARY_MODULO", "COMPARE_OP",
}  # fmt: skip
# The values that an instruction pops per unit of its argument, the values in addition, and the type of its result.
_BUILDING = {
    "BUILD_SLICE": (1, 0, "slice"), "BUILD_MAP": (2, 0, "dict"),
    "BUILD_CONST_KEY_MAP": (1, 1, "dict"), "BINARY_SLICE": (0, 3, ""), "UNARY_NOT": (0, 1, "bool"),
}  # fmt: skip
_STORING = {"STORE_SUBSCR": 3, "STORE_ATTR": 2, "STORE_GLOBAL": 1, "STORE_DEREF": 1, "POP_TOP": 1}
_KEY = {"LOAD_CONST", "LOAD_GLOBAL", "LOAD_DEREF", "BUILD_LIST", "LIST_EXTEND"}
_MAX_KEY = 40
_CONDITIONAL = ("POP_JUMP_", "JUMP_IF_")


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call in a function.

    Attributes:
        offset: of the instruction.
        function: what is called.
        arguments: the positional arguments, None where they cannot be counted.
        keywords: the keyword arguments, None where they cannot be counted.
    """

    offset: int
    function: Value
    arguments: tuple[Value, ...] | None
    keywords: Mapping[str, Value] | None


@dataclass(kw_only=True)
class Body:
    """What the instructions of a function do, each with the offset of the instruction.

    Attributes:
        calls: in the order of the bytecode.
        imports: (offset, module).
        columns: (offset, argument, column) where a column of a so far untouched argument is read.
        returned: offset of a return instruction -> what it returns.
    """

    calls: list[Call] = field(default_factory=list)
    imports: list[tuple[int, str]] = field(default_factory=list)
    columns: list[tuple[int, str, str]] = field(default_factory=list)
    returned: dict[int, Value] = field(default_factory=dict)


def follow(code: Code, version: str, variables: Callable[[str, bool], Value], frames: tuple[str, ...] = ()) -> Body:
    """Return what the instructions of a function do.

    Args:
        code: of the function.
        version: the Python that compiled it, '3.10' to '3.13'.
        frames: the arguments that are DataFrames, as a run passes them.
        variables: looks up a name: a global or builtin, or with True a variable of an outer function.
    """
    return _Follower(code, version, variables, frames).body


class _Follower:
    def __init__(
        self, code: Code, version: str, variables: Callable[[str, bool], Value], frames: tuple[str, ...]
    ) -> None:
        self.body = Body()
        self._code = code
        self._version = version
        self._variables = variables
        self._frames = frames
        code_instructions = list(instructions(code, version))
        self._stores = Counter(
            value_of(code, version, name, argument)
            for _, name, argument in code_instructions
            if name in ("STORE_FAST", "DELETE_FAST", "LOAD_FAST_AND_CLEAR", "STORE_DEREF")
        )
        offsets = sorted({offset for offset, _, _ in code_instructions})
        joins = {handler for _, _, handler in handlers(code)}
        joins |= {target for step in steps(code, version) if (target := jump_target(step, version)) is not None}
        # A jump leads to the EXTENDED_ARG in front of an instruction.
        joins = {offsets[index] for join in joins if (index := bisect_left(offsets, join)) < len(offsets)}
        self._local: dict[str, Value] = {}
        self._touched: set[str] = set()
        self._stack: list[Value] = []
        self._keywords: tuple[str, ...] = ()
        self._run(code_instructions, joins)

    def _run(self, code_instructions: list[tuple[int, str, int]], joins: set[int]) -> None:
        previous = -1
        for number, (offset, name, argument) in enumerate(code_instructions):
            if offset in joins and offset != previous:
                self._stack.clear()
            previous = offset
            self._step(offset, name, argument, code_instructions[number + 1 : number + 1 + _MAX_KEY])

    def _step(self, offset: int, name: str, argument: int, following: list[Instruction]) -> None:
        value = value_of(self._code, self._version, name, argument)
        if name in _CALLS:
            self._call(offset, name, argument)
        elif name == "CALL_FUNCTION_EX":
            self._take(1 + (argument & 1))
            self._record_call(Call(offset=offset, function=self._pop(), arguments=None, keywords=None))
        elif name == "KW_NAMES":
            names = self._constant(argument)
            self._keywords = names if isinstance(names, tuple) else ()
        elif name == "IMPORT_NAME":
            self._import(offset, str(value))
        elif name == "BINARY_SUBSCR":
            self._subscript(offset)
        elif name in ("RETURN_VALUE", "RETURN_CONST"):
            returned = self._pop() if name == "RETURN_VALUE" else constant(self._constant(argument))
            self.body.returned[offset] = returned
            self._stack.clear()
        elif name.startswith(_CONDITIONAL):
            self._pop()
        elif not (self._load(name, value, following) or self._build(name, argument) or self._store(name, value)):
            self._stack.clear()

    def _load(self, name: str, value: Any, following: list[Instruction]) -> bool:
        if name == "LOAD_CONST":
            self._stack.append(constant(value))
        elif name in _FAST:
            self._load_local(str(value), following)
        elif name in ("LOAD_GLOBAL", "LOAD_NAME"):
            self._stack.append(self._variables(str(value), False))
        elif name == "LOAD_DEREF":
            self._load_cell(str(value))
        elif name in ("LOAD_ATTR", "LOAD_METHOD"):
            self._stack.append(self._pop().attribute(str(value)))
        elif name == "IMPORT_FROM":
            self._stack.append((self._stack[-1] if self._stack else UNKNOWN).attribute(str(value)))
        else:
            return name in _SKIPPED
        return True

    def _build(self, name: str, argument: int) -> bool:
        if name in _OF_TWO:
            second, first = self._pop(), self._pop()
            self._stack.append(UNKNOWN if name == "COMPARE_OP" else combined(first, second))
        elif name == "UNARY_NEGATIVE":
            self._stack.append(combined(self._pop(), Value(type="int")))
        elif name in ("BUILD_TUPLE", "BUILD_LIST"):
            items = self._take(argument)
            self._stack.append(sequence("tuple" if name == "BUILD_TUPLE" else "list", items, argument))
        elif name == "LIST_EXTEND":
            more, first = self._pop(), self._pop()
            self._stack.append(extended(first, more))
        elif name in _BUILDING:
            each, more_values, kind = _BUILDING[name]
            self._take(each * argument + more_values)
            self._stack.append(Value(type=kind))
        else:
            return False
        return True

    def _store(self, name: str, value: Any) -> bool:
        if name == "STORE_FAST":
            stored = self._pop()
            if self._stores[value] == 1 and value not in self._code.arguments:
                self._local[str(value)] = stored
        elif name in _STORING:
            self._take(_STORING[name])
        else:
            return False
        return True

    def _constant(self, number: int) -> Any:
        return self._code.constants[number] if number < len(self._code.constants) else None

    def _pop(self) -> Value:
        return self._stack.pop() if self._stack else UNKNOWN

    def _take(self, count: int) -> list[Value]:
        """Pop the upper values, lowest first, without unknown values."""
        return [self._pop() for _ in range(min(count, len(self._stack)))][::-1]

    def _load_local(self, name: str, following: list[Instruction]) -> None:
        if name in self._frames and not self._stores[name]:
            # In `argument[key]` the key is loaded between the argument and the subscript.
            behind_key = next((instruction[1] for instruction in following if instruction[1] not in _KEY), "")
            reads = behind_key == "BINARY_SUBSCR"
            self._stack.append(
                Value(type="frame", name=f"<{name}>", argument=name, untouched=reads and name not in self._touched)
            )
            if not reads:
                self._touched.add(name)
        else:
            self._stack.append(self._local.get(name, UNKNOWN))

    def _load_cell(self, name: str) -> None:
        own = name in self._code.arguments or self._stores[name]
        self._stack.append(UNKNOWN if own else self._variables(name, True))

    def _import(self, offset: int, module: str) -> None:
        names, level = self._pop(), self._pop()
        if level.constant == (0,):
            self.body.imports.append((offset, module))
        # `import a.b` pushes a; for `from a import b`, `IMPORT_FROM` takes b from a.
        gives_top = names.constant == (None,)
        self._stack.append(Value(name=module.partition(".")[0] if gives_top else module))

    def _subscript(self, offset: int) -> None:
        key, owner = self._pop(), self._pop()
        if owner.argument and owner.untouched and key.constant:
            columns = key.constant[0] if isinstance(key.constant[0], tuple) else key.constant
            self.body.columns += [(offset, owner.argument, column) for column in columns if isinstance(column, str)]
        self._stack.append(result_of_subscript(owner, key))

    def _call(self, offset: int, name: str, argument: int) -> None:
        keywords = self._keywords
        self._keywords = ()
        is_known = True
        if name in _NAMES_ON_TOP:
            names = self._pop().constant
            is_known = bool(names) and isinstance(names[0], tuple)
            keywords = names[0] if is_known else ()
        values = self._take(argument)
        is_complete = is_known and len(values) == argument and len(keywords) <= argument
        if not is_complete:
            self._record_call(Call(offset=offset, function=self._pop(), arguments=None, keywords=None))
            return
        positional_count = len(values) - len(keywords)
        keyword_values = dict(zip(map(str, keywords), values[positional_count:], strict=True))
        self._record_call(
            Call(
                offset=offset, function=self._pop(), arguments=tuple(values[:positional_count]), keywords=keyword_values
            )
        )

    def _record_call(self, call: Call) -> None:
        self.body.calls.append(call)
        self._stack.append(result_of_call(call.function, call.arguments, call.keywords))
