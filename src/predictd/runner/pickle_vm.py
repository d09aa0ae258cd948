"""The pickle machine with nothing behind it: opcodes in, descriptions out, and nothing of the file is ever called.

What a pickle would import, call or build becomes a `Global` or a `Made`, which says so and does nothing. Containers
keep a bounded number of their items, texts and bytes what the caller's `keep` makes of them.
"""

from collections.abc import Callable
from functools import partial
from pickletools import OpcodeInfo, markobject
from typing import Any

_MOST_ITEMS = 20_000
_MOST_DEPTH = 2_000_000
_WITHOUT_BUDGET = 1 << 62
_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_TEXTS = (
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
)  # fmt: skip
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class TooMuch(Exception):
    """It is larger than what is described."""


class Global:
    """A name that unpickling looks up in a module, which it imports for that."""

    __slots__ = ("module", "name")

    def __init__(self, module: Any, name: Any) -> None:
        self.module = module
        self.name = name


class Items:
    """A list or a set: its first items, and how many more it has."""

    __slots__ = ("dropped", "kind", "values")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.values: list[Any] = []
        self.dropped = 0

    def add(self, new: "list[Any]") -> None:
        """Take in more items."""
        room = max(0, _MOST_ITEMS - len(self.values))
        self.values += new[:room]
        self.dropped += len(new[room:])


class Pairs:
    """A dict: its first keys and values with the bytes that each pair takes in the file, in the order of the file."""

    __slots__ = ("dropped", "values")

    def __init__(self) -> None:
        self.values: list[tuple[Any, Any, int]] = []
        self.dropped = 0

    def get(self, key: str) -> Any:
        """The value of a text, None if there is none."""
        for one, value, _ in self.values:
            if isinstance(one, str) and one == key:
                return value
        return None


class Made:
    """What unpickling gets by calling something: a function or class and its arguments, and what is done to the result.

    Attributes:
        function: usually a `Global`, or a `Made` that is a class carried by value.
        arguments: usually a tuple.
        states: what __setstate__ gets, or a setter that is called with the object.
        items, pairs: what is appended and set.
        place, end: from which byte of the file to which it reaches.
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
    """An object that the file only names; torch keeps the storages of tensors that way."""

    __slots__ = ("name",)

    def __init__(self, name: Any) -> None:
        self.name = name


class Machine:
    """Takes one opcode after the other.

    Args:
        keep: returns what is kept of a text or of bytes.
        most: how many names and calls are listed.
        budget: how many objects are described, with their items, before there are too many; None for any number.

    Attributes:
        globals: every name that is looked up, in order.
        made: every call, in order, as far as `most` of them.
        cut: whether there were more.
        names_outside: whether it names objects that are kept outside of the file.
    """

    def __init__(self, keep: Callable[[Any], Any], most: int, budget: "int | None" = None) -> None:
        self.globals: list[Global] = []
        self.made: list[Made] = []
        self.cut = False
        self.names_outside = False
        self._keep = keep
        self._most = most
        self._left = _WITHOUT_BUDGET if budget is None else budget
        self._most_depth = _MOST_DEPTH if budget is None else min(_MOST_DEPTH, 2 * budget)
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
        """What lies on top of the stack; after STOP that was the pickled object.

        Raises:
            IndexError: nothing does.
        """
        return self._stack[-1]

    def apply(self, opcode: OpcodeInfo, arg: Any, place: int) -> None:
        """Take the opcode at that byte of the file.

        Raises:
            IndexError, KeyError, TypeError: the file asks for what is not there.
            TooMuch: there is more on the stack than any model has.
        """
        step = self._steps.get(opcode.name)
        if step is None:
            self._by_its_counts(opcode, place)
        else:
            step(arg, place)

    def _push(self, value: Any, place: int) -> None:
        stack = self._stack
        stack.append(value)
        self._places.append(place)
        if len(stack) > self._most_depth:
            raise TooMuch

    def _describe(self, value: Any, place: int, items: int = 0) -> None:
        """Push an object that takes memory for as long as something holds it."""
        self._spend(1 + items)
        self._push(value, place)

    def _spend(self, objects: int) -> None:
        self._left -= objects
        if self._left < 0:
            raise TooMuch

    def _push_kept(self, arg: Any, place: int) -> None:
        self._push(self._keep(arg), place)

    def _pop(self) -> tuple[Any, int]:
        if self._marks and self._marks[-1] >= len(self._stack):
            raise IndexError("it takes what lies under a mark")
        return self._stack.pop(), self._places.pop()

    def _since_mark(self) -> tuple[list[Any], list[int]]:
        since = self._marks.pop()
        values, places = self._stack[since:], self._places[since:]
        del self._stack[since:], self._places[since:]
        return values, places

    def _tuple_of(self, count: int, _arg: Any, place: int) -> None:
        parts = [self._pop() for _ in range(count)][::-1]
        self._describe(tuple(value for value, _ in parts), parts[0][1] if parts else place, count)

    def _by_its_counts(self, opcode: OpcodeInfo, place: int) -> None:
        """Every opcode that needs no care: pop and push as many as it says."""
        if markobject in opcode.stack_before:
            raise IndexError(f"{opcode.name} is not known")
        for _ in opcode.stack_before:
            self._pop()
        for _ in opcode.stack_after:
            self._push(None, place)

    def _mark(self, _arg: Any, _place: int) -> None:
        self._marks.append(len(self._stack))
        if len(self._marks) > self._most_depth:
            raise TooMuch

    def _pop_mark(self, _arg: Any, _place: int) -> None:
        self._since_mark()

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
        if len(self._memo) > self._most_depth:
            raise TooMuch

    def _get(self, arg: Any, place: int) -> None:
        self._push(self._memo[arg], place)

    def _tuple(self, _arg: Any, place: int) -> None:
        values, places = self._since_mark()
        self._describe(tuple(values), places[0] if places else place, len(values))

    def _list(self, _arg: Any, place: int) -> None:
        self._collect("list", place)

    def _frozenset(self, _arg: Any, place: int) -> None:
        self._collect("set", place)

    def _collect(self, kind: str, place: int) -> None:
        values, places = self._since_mark()
        made = Items(kind)
        made.add(values)
        self._describe(made, places[0] if places else place, len(made.values))

    def _empty_dict(self, _arg: Any, place: int) -> None:
        self._describe(Pairs(), place)

    def _dict(self, _arg: Any, place: int) -> None:
        values, places = self._since_mark()
        made = Pairs()
        _add_pairs(made, values, [*places, place])
        self._describe(made, places[0] if places else place, 2 * len(made.values))

    def _append(self, _arg: Any, _place: int) -> None:
        value, _ = self._pop()
        self._extend([value])

    def _appends(self, _arg: Any, _place: int) -> None:
        self._extend(self._since_mark()[0])

    def _extend(self, values: "list[Any]") -> None:
        owner = self._stack[-1]
        if isinstance(owner, Made):
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
        values, places = self._since_mark()
        self._set(values, [*places, place])

    def _set(self, values: "list[Any]", places: "list[int]") -> None:
        owner = self._stack[-1]
        if isinstance(owner, Made):
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
        found = Global(module, name)
        if len(self.globals) < self._most:
            self.globals.append(found)
        else:
            self.cut = True
        self._describe(found, place)

    def _reduce(self, _arg: Any, place: int) -> None:
        arguments, _ = self._pop()
        function, since = self._pop()
        self._make(function, arguments, since, place)

    def _newobj_ex(self, _arg: Any, place: int) -> None:
        keywords, _ = self._pop()
        arguments, _ = self._pop()
        function, since = self._pop()
        self._make(function, arguments, since, place)
        self._stack[-1].states.append(keywords)

    def _obj(self, _arg: Any, place: int) -> None:
        values, places = self._since_mark()
        self._make(values[0], tuple(values[1:]), places[0], place)

    def _inst(self, arg: Any, place: int) -> None:
        values, _ = self._since_mark()
        self._global(arg, place)
        function, _ = self._pop()
        self._make(function, tuple(values), place, place)

    def _make(self, function: Any, arguments: Any, since: int, place: int) -> None:
        # A setter is called with the object that it changes, and its result is thrown away.
        if isinstance(arguments, tuple) and len(arguments) == 2 and isinstance(arguments[0], Made):
            self._spend(1)
            arguments[0].states.append(arguments[1])
            arguments[0].end = place
        made = Made(function, arguments, since, place)
        if len(self.made) < self._most:
            self.made.append(made)
        else:
            self.cut = True
        self._describe(made, since)

    def _build(self, _arg: Any, place: int) -> None:
        state, _ = self._pop()
        owner = self._stack[-1]
        if isinstance(owner, Made):
            self._spend(1)
            owner.states.append(state)
            owner.end = place

    def _persid(self, arg: Any, place: int) -> None:
        self.names_outside = True
        self._describe(Persistent(arg), place)

    def _binpersid(self, _arg: Any, place: int) -> None:
        name, since = self._pop()
        self._persid(name, since)


def _add_pairs(owner: Pairs, values: "list[Any]", places: "list[int]") -> None:
    for number in range(0, len(values) - 1, 2):
        if len(owner.values) >= _MOST_ITEMS:
            owner.dropped += 1
        else:
            size = places[number + 2] - places[number]
            owner.values.append((values[number], values[number + 1], size))
