"""A pickle machine that executes opcodes symbolically: it describes the objects and never calls anything of the file.

What a pickle would import or call becomes a `Global` or a `CallResult`. Containers keep a limited number of items,
and texts and bytes are reduced by the caller's `keep`.
"""

from collections.abc import Callable
from functools import partial
from pickletools import OpcodeInfo, markobject
from typing import Any

_MAX_ITEMS = 20_000
_MAX_DEPTH = 2_000_000
_UNLIMITED = 1 << 62
_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_TEXTS = (
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
)  # fmt: skip
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class PickleTooLargeError(Exception):
    """The pickle is too large to describe."""


class Global:
    """A name that unpickling imports from a module."""

    __slots__ = ("module", "name")

    def __init__(self, module: Any, name: Any) -> None:
        self.module = module
        self.name = name


class Items:
    """A list or a set: its first items, and the number of further items."""

    __slots__ = ("dropped", "kind", "values")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.values: list[Any] = []
        self.dropped = 0

    def add(self, new: "list[Any]") -> None:
        """Append items."""
        room = max(0, _MAX_ITEMS - len(self.values))
        self.values += new[:room]
        self.dropped += len(new[room:])


class Pairs:
    """A dict: its first keys and values, each with its size in the file, in the order of the file."""

    __slots__ = ("dropped", "values")

    def __init__(self) -> None:
        self.values: list[tuple[Any, Any, int]] = []
        self.dropped = 0

    def get(self, key: str) -> Any:
        """Return the value of a text key, or None."""
        for candidate, value, _ in self.values:
            if isinstance(candidate, str) and candidate == key:
                return value
        return None


class CallResult:
    """The result of a call: a function or class with its arguments, and the changes of the result.

    Attributes:
        function: usually a `Global`, or a `CallResult` that is a class pickled by value.
        arguments: usually a tuple.
        states: arguments of __setstate__, or of a setter that is called with the object.
        items, pairs: appended items, and set keys and values.
        place, end: offsets of its first and last opcode in the file.
    """

    __slots__ = ("arguments", "end", "function", "items", "pairs", "place", "states")

    def __init__(self, function: Any, arguments: Any, place: int, end: int) -> None:
        self.function = function
        self.arguments = arguments
        self.states: list[Any] = []
        self.items: Items | None = None
        self.pairs: Pairs | None = None
        self.place = place
        self.end = end


class Persistent:
    """A reference to an object outside of the file, as torch uses for the storages of tensors."""

    __slots__ = ("name",)

    def __init__(self, name: Any) -> None:
        self.name = name


class Machine:
    """Executes one opcode after the other.

    Args:
        keep: reduces a text or bytes to what is stored.
        max_listed: maximum length of `globals` and of `calls`.
        budget: maximum number of described objects and items; None for no limit.

    Attributes:
        globals: every imported name, in order.
        calls: every call, in order.
        is_truncated: whether there were more names or calls.
        has_external_objects: whether it refers to objects outside of the file.
    """

    def __init__(self, keep: Callable[[Any], Any], max_listed: int, budget: "int | None" = None) -> None:
        self.globals: list[Global] = []
        self.calls: list[CallResult] = []
        self.is_truncated = False
        self.has_external_objects = False
        self._keep = keep
        self._max_listed = max_listed
        self._budget_left = _UNLIMITED if budget is None else budget
        self._max_depth = _MAX_DEPTH if budget is None else min(_MAX_DEPTH, 2 * budget)
        self._stack: list[Any] = []
        self._places: list[int] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._steps: dict[str, Callable[[Any, int], None]] = {
            "MARK": self._mark, "POP": self._pop_one, "POP_MARK": self._pop_mark, "DUP": self._dup,
            "MEMOIZE": self._memoize, "PUT": self._put, "BINPUT": self._put, "LONG_BINPUT": self._put,
            "GET": self._get, "BINGET": self._get, "LONG_BINGET": self._get,
            "TUPLE": self._tuple, "LIST": self._list, "FROZENSET": self._frozenset, "DICT": self._dict,
            "EMPTY_DICT": self._empty_dict, "APPEND": self._append, "APPENDS": self._appends,
            "ADDITEMS": self._appends, "SETITEM": self._setitem, "SETITEMS": self._setitems,
            "GLOBAL": self._global, "STACK_GLOBAL": self._stack_global, "REDUCE": self._reduce,
            "NEWOBJ": self._reduce, "NEWOBJ_EX": self._newobj_ex, "OBJ": self._obj, "INST": self._inst,
            **dict.fromkeys(_TEXTS, self._push_kept), **dict.fromkeys(_NUMBERS, self._push),
            "NONE": lambda _, place: self._push(None, place), "NEWTRUE": lambda _, place: self._push(True, place),
            "NEWFALSE": lambda _, place: self._push(False, place), "STOP": lambda _, place: None,
            "EMPTY_LIST": lambda _, place: self._describe(Items("list"), place),
            "EMPTY_SET": lambda _, place: self._describe(Items("set"), place),
            **{name: partial(self._tuple_of, count) for name, count in _TUPLES.items()},
            "BUILD": self._build, "PERSID": self._persid, "BINPERSID": self._binpersid,
        }  # fmt: skip

    @property
    def top(self) -> Any:
        """Return the top of the stack; after STOP that is the pickled object.

        Raises:
            IndexError: The stack is empty.
        """
        return self._stack[-1]

    def apply(self, opcode: OpcodeInfo, arg: Any, place: int) -> None:
        """Execute the opcode at that offset of the file.

        Raises:
            IndexError, KeyError, TypeError: The file refers to what does not exist.
            PickleTooLargeError: The stack is larger than that of any model.
        """
        step = self._steps.get(opcode.name)
        if step is None:
            self._apply_generic(opcode, place)
        else:
            step(arg, place)

    def _push(self, value: Any, place: int) -> None:
        stack = self._stack
        stack.append(value)
        self._places.append(place)
        if len(stack) > self._max_depth:
            raise PickleTooLargeError

    def _describe(self, value: Any, place: int, items: int = 0) -> None:
        """Push an object that counts against the budget."""
        self._spend(1 + items)
        self._push(value, place)

    def _spend(self, objects: int) -> None:
        self._budget_left -= objects
        if self._budget_left < 0:
            raise PickleTooLargeError

    def _push_kept(self, arg: Any, place: int) -> None:
        self._push(self._keep(arg), place)

    def _pop(self) -> tuple[Any, int]:
        if self._marks and self._marks[-1] >= len(self._stack):
            raise IndexError("it pops an object below a mark")
        return self._stack.pop(), self._places.pop()

    def _pop_to_mark(self) -> tuple[list[Any], list[int]]:
        start = self._marks.pop()
        values, places = self._stack[start:], self._places[start:]
        del self._stack[start:], self._places[start:]
        return values, places

    def _tuple_of(self, count: int, _arg: Any, place: int) -> None:
        parts = [self._pop() for _ in range(count)][::-1]
        self._describe(tuple(value for value, _ in parts), parts[0][1] if parts else place, count)

    def _apply_generic(self, opcode: OpcodeInfo, place: int) -> None:
        """Execute any other opcode: pop and push as many objects as it declares."""
        if markobject in opcode.stack_before:
            raise IndexError(f"{opcode.name} is unknown")
        for _ in opcode.stack_before:
            self._pop()
        for _ in opcode.stack_after:
            self._push(None, place)

    def _mark(self, _arg: Any, _place: int) -> None:
        self._marks.append(len(self._stack))
        if len(self._marks) > self._max_depth:
            raise PickleTooLargeError

    def _pop_mark(self, _arg: Any, _place: int) -> None:
        self._pop_to_mark()

    def _pop_one(self, _arg: Any, _place: int) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._pop()

    def _dup(self, _arg: Any, place: int) -> None:
        self._push(self._stack[-1], place)

    def _memoize(self, _arg: Any, _place: int) -> None:
        self._remember(len(self._memo))

    def _put(self, arg: Any, _place: int) -> None:
        self._remember(arg)

    def _remember(self, number: int) -> None:
        self._memo[number] = self._stack[-1]
        if len(self._memo) > self._max_depth:
            raise PickleTooLargeError

    def _get(self, arg: Any, place: int) -> None:
        self._push(self._memo[arg], place)

    def _tuple(self, _arg: Any, place: int) -> None:
        values, places = self._pop_to_mark()
        self._describe(tuple(values), places[0] if places else place, len(values))

    def _list(self, _arg: Any, place: int) -> None:
        self._collect("list", place)

    def _frozenset(self, _arg: Any, place: int) -> None:
        self._collect("set", place)

    def _collect(self, kind: str, place: int) -> None:
        values, places = self._pop_to_mark()
        result = Items(kind)
        result.add(values)
        self._describe(result, places[0] if places else place, len(result.values))

    def _empty_dict(self, _arg: Any, place: int) -> None:
        self._describe(Pairs(), place)

    def _dict(self, _arg: Any, place: int) -> None:
        values, places = self._pop_to_mark()
        result = Pairs()
        _add_pairs(result, values, [*places, place])
        self._describe(result, places[0] if places else place, 2 * len(result.values))

    def _append(self, _arg: Any, _place: int) -> None:
        value, _ = self._pop()
        self._extend([value])

    def _appends(self, _arg: Any, _place: int) -> None:
        self._extend(self._pop_to_mark()[0])

    def _extend(self, values: "list[Any]") -> None:
        owner = self._stack[-1]
        if isinstance(owner, CallResult):
            owner.items = owner.items or Items("list")
            owner = owner.items
        if isinstance(owner, Items):
            self._spend(-len(owner.values))
            owner.add(values)
            self._spend(len(owner.values))

    def _setitem(self, _arg: Any, place: int) -> None:
        value, value_place = self._pop()
        key, key_place = self._pop()
        self._set([key, value], [key_place, value_place, place])

    def _setitems(self, _arg: Any, place: int) -> None:
        values, places = self._pop_to_mark()
        self._set(values, [*places, place])

    def _set(self, values: "list[Any]", places: "list[int]") -> None:
        owner = self._stack[-1]
        if isinstance(owner, CallResult):
            owner.pairs = owner.pairs or Pairs()
            owner = owner.pairs
        if isinstance(owner, Pairs):
            self._spend(-2 * len(owner.values))
            _add_pairs(owner, values, places)
            self._spend(2 * len(owner.values))

    def _global(self, arg: Any, place: int) -> None:
        module, _, name = str(arg).partition(" ")
        self._look_up(module, name, place)

    def _stack_global(self, _arg: Any, _place: int) -> None:
        name, _ = self._pop()
        module, place = self._pop()
        self._look_up(module, name, place)

    def _look_up(self, module: Any, name: Any, place: int) -> None:
        name_lookup = Global(module, name)
        if len(self.globals) < self._max_listed:
            self.globals.append(name_lookup)
        else:
            self.is_truncated = True
        self._describe(name_lookup, place)

    def _reduce(self, _arg: Any, place: int) -> None:
        arguments, _ = self._pop()
        function, start = self._pop()
        self._call(function, arguments, start, place)

    def _newobj_ex(self, _arg: Any, place: int) -> None:
        keywords, _ = self._pop()
        arguments, _ = self._pop()
        function, start = self._pop()
        self._call(function, arguments, start, place)
        self._stack[-1].states.append(keywords)

    def _obj(self, _arg: Any, place: int) -> None:
        values, places = self._pop_to_mark()
        self._call(values[0], tuple(values[1:]), places[0], place)

    def _inst(self, arg: Any, place: int) -> None:
        values, _ = self._pop_to_mark()
        self._global(arg, place)
        function, _ = self._pop()
        self._call(function, tuple(values), place, place)

    def _call(self, function: Any, arguments: Any, start: int, place: int) -> None:
        # A setter is called with the object that it changes, and its result is discarded.
        if isinstance(arguments, tuple) and len(arguments) == 2 and isinstance(arguments[0], CallResult):
            self._spend(1)
            arguments[0].states.append(arguments[1])
            arguments[0].end = place
        result = CallResult(function, arguments, start, place)
        if len(self.calls) < self._max_listed:
            self.calls.append(result)
        else:
            self.is_truncated = True
        self._describe(result, start)

    def _build(self, _arg: Any, place: int) -> None:
        state, _ = self._pop()
        owner = self._stack[-1]
        if isinstance(owner, CallResult):
            self._spend(1)
            owner.states.append(state)
            owner.end = place

    def _persid(self, arg: Any, place: int) -> None:
        self.has_external_objects = True
        self._describe(Persistent(arg), place)

    def _binpersid(self, _arg: Any, place: int) -> None:
        name, start = self._pop()
        self._persid(name, start)


def _add_pairs(owner: Pairs, values: "list[Any]", places: "list[int]") -> None:
    for number in range(0, len(values) - 1, 2):
        if len(owner.values) >= _MAX_ITEMS:
            owner.dropped += 1
        else:
            size = places[number + 2] - places[number]
            owner.values.append((values[number], values[number + 1], size))
