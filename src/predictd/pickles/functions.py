"""The functions that a pickle carries: what each does, and what every successful call of the model executes."""

from dataclasses import dataclass, replace
from typing import Any

from predictd.pickles.bytecode import Code, Seen, look
from predictd.pickles.control_flow import flow_of
from predictd.pickles.data_flow import Body, Call, follow
from predictd.pickles.reconstruct import (
    Function,
    as_class,
    as_code,
    as_function,
    attribute_of,
    class_of,
    module_of,
    name_of,
    texts_in,
)
from predictd.pickles.values import UNKNOWN, Value, constant
from predictd.runner.pickle_vm import CallResult

FLOW_PYTHONS = ("3.10", "3.11", "3.12", "3.13")
_MUTATING = {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"}
_MAX_LISTED = 1_000
_MAX_DEPTH = 8


@dataclass(frozen=True, kw_only=True)
class Import:
    """A module that the pickle needs.

    Attributes:
        module: its full name.
        names: what is looked up in it while unpickling.
        at_load: whether unpickling imports it; else a function does when it is called.
        certain: whether every successful run imports it.
        guarded: whether the function catches what goes wrong.
        function: the function that imports it.
    """

    module: str
    names: tuple[str, ...] = ()
    at_load: bool
    certain: bool = False
    guarded: bool = False
    function: str | None = None

    @property
    def top(self) -> str:
        """The name of the package: 'sklearn' of 'sklearn.linear_model'."""
        return self.module.partition(".")[0]


@dataclass(frozen=True, kw_only=True)
class FunctionSeen:
    """A function in the pickle, with the functions that are defined in it.

    Attributes:
        module: where it was defined.
        chains: dotted names that it takes, with the modules' real names; '<name>' is a variable.
        columns: (argument, text) where an argument is subscripted with a text.
        texts: the texts among its constants.
        guarded: whether it catches what goes wrong in it.
        calls: what it calls.
        certain_calls: those of `calls` without whose success no run succeeds.
        certain_columns: (argument, column) that every successful run reads from the argument as it was passed.
        entry: whether it is what runs when the model is called.
    """

    name: str
    module: str | None
    chains: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    texts: tuple[str, ...]
    guarded: bool
    calls: tuple[Call, ...]
    certain_calls: tuple[Call, ...]
    certain_columns: tuple[tuple[str, str], ...]
    entry: bool


@dataclass(frozen=True, kw_only=True)
class Behavior:
    """What the functions of a pickle do.

    Attributes:
        functions: in the order of the pickle.
        imports: those of the functions.
        returns: what the model can return; empty if it never returns, None where that is not known.
    """

    functions: tuple[FunctionSeen, ...]
    imports: tuple[Import, ...]
    returns: tuple[Value, ...] | None


def behavior_of(carried: list[tuple[CallResult, Function]], top: Any, version: str | None, *, exact: bool) -> Behavior:
    """Return what the functions of a pickle do in a version of Python.

    Args:
        carried: the descriptions of the functions, and what they describe.
        top: the pickled object, None where it is not known.
        version: by which the bytecode is read, None for no version.
        exact: whether it is the version that runs the bytecode; else nothing is certain.
    """
    if version is None:
        seen = [_seen(function, [], Body(), [], frozenset(), entry=False) for _, function in carried]
        return Behavior(functions=tuple(one for one, _ in seen), imports=(), returns=None)
    bodies = _Bodies(carried, version)
    entry, skipped = _called(top) if exact and version in FLOW_PYTHONS else (None, None)
    if entry is not None:
        bodies.enter(entry, skipped)
    certain = bodies.certain(entry) if entry is not None else {}
    functions, imports = [], []
    for made, function in carried:
        body, inner = bodies.of(made)
        offsets = certain.get(id(made), frozenset())
        seen_function, seen_imports = _seen(function, bodies.seen(made), body, inner, offsets, entry=made is entry)
        functions.append(seen_function)
        imports += seen_imports
    returns = bodies.returns(entry) if entry is not None else None
    return Behavior(functions=tuple(functions), imports=tuple(imports), returns=returns)


class _Bodies:
    """The bodies of the carried functions, by the identity of their descriptions."""

    def __init__(self, carried: list[tuple[CallResult, Function]], version: str) -> None:
        self._version = version
        self._functions = {id(made): function for made, function in carried}
        self._bodies: dict[int, tuple[Body, list[Body]]] = {}
        self._frames: dict[int, tuple[str, ...]] = {}
        # Comprehensions and functions in a function are constants of it; what they do, it does.
        self._codes = {id(made): with_inner(function.code) for made, function in carried}
        self._seen = {key: [look(code, version) for code in codes] for key, codes in self._codes.items()}
        every = [one for seen in self._seen.values() for one in seen]
        self._changed = {name for one in every for name in one.changed}
        for chain in (chain for one in every for chain in one.chains):
            owner, _, method = chain.rpartition(".")
            if method in _MUTATING:
                self._changed.add(owner.strip("<>"))

    def seen(self, made: CallResult) -> list[Seen]:
        """Return what the instructions of a function say, and of the functions that are defined in it."""
        return self._seen[id(made)]

    def of(self, made: CallResult) -> tuple[Body, list[Body]]:
        """Return the body of a function, and those of the functions that are defined in it."""
        if id(made) not in self._bodies:
            function = self._functions[id(made)]
            known = self._known(function)

            def variables(name: str, outer: bool) -> Value:
                if name in self._changed:
                    return UNKNOWN
                return known.get(name, UNKNOWN if outer else Value(name=name))

            own, *inner = self._codes[id(made)]
            self._bodies[id(made)] = (
                follow(own, self._version, variables, self._frames.get(id(made), ())),
                [follow(code, self._version, variables) for code in inner],
            )
        return self._bodies[id(made)]

    def enter(self, entry: CallResult, skipped: int | None) -> None:
        """Take the arguments of the function that is called for DataFrames, but for the first ones that are skipped."""
        code = self._functions[id(entry)].code if id(entry) in self._functions else None
        if code is None or skipped is None:
            return
        passed = code.arguments[skipped:]
        # A second argument is passed where there are just two; what stands behind a default may be the default.
        self._frames[id(entry)] = passed if len(passed) == 2 and not code.takes_any else passed[:1]

    def certain(self, entry: CallResult) -> dict[int, frozenset[int]]:
        """Return the functions that every successful run calls, with the offsets of what it executes in them."""
        found: dict[int, frozenset[int]] = {}
        todo = [entry]
        while todo:
            made = todo.pop()
            if id(made) in found or id(made) not in self._functions:
                continue
            code = self._functions[id(made)].code
            flow = flow_of(code, self._version) if code.kind == "function" else None
            found[id(made)] = flow.certain if flow is not None else frozenset()
            calls = [one for one in self.of(made)[0].calls if one.offset in found[id(made)]]
            todo += [one.function.carried for one in calls if isinstance(one.function.carried, CallResult)]
        return found

    def returns(self, entry: CallResult) -> tuple[Value, ...] | None:
        """Return what a function can return, None where that is not known."""
        function = self._functions.get(id(entry))
        if function is None:
            return None
        if function.code.kind != "function":
            return (Value(type=function.code.kind),)
        flow = flow_of(function.code, self._version)
        if flow is None:
            return None
        returned = self.of(entry)[0].returned
        return tuple(dict.fromkeys(returned.get(offset, UNKNOWN) for offset in sorted(flow.returns)))

    def _known(self, function: Function) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for name, value, _ in function.variables.values:
            if isinstance(name, str):
                module = module_of(value) or name_of(value)
                kind = name_of(class_of(value)) or ""
                if module is not None:
                    found[name] = Value(name=module)
                elif id(value) in self._functions:
                    found[name] = Value(name=f"<{name}>", carried=value)
                else:
                    found[name] = replace(constant(value) if not kind else Value(type=kind), name=f"<{name}>")
        return found


def _seen(
    function: Function, looks: list[Seen], body: Body, inner: list[Body], certain: frozenset[int], *, entry: bool
) -> tuple[FunctionSeen, list[Import]]:
    code = function.code
    known = _real_names(function)
    chains: dict[str, None] = {}
    columns: dict[tuple[str, str], None] = {}
    imports: list[Import] = []
    texts = [text for one in with_inner(code) for text in list(texts_in(one.constants))[:_MAX_LISTED]] if looks else []
    guarded = False
    sure = {module for offset, module in body.imports if offset in certain}
    for place, found in enumerate(looks):
        for chain in found.chains:
            first, dot, rest = chain.partition(".")
            chains[known.get(first.strip("<>"), first) + dot + rest] = None
        columns.update(dict.fromkeys(found.columns))
        guarded = guarded or found.guarded
        imports += [
            Import(module=m, at_load=False, certain=place == 0 and m in sure, guarded=caught, function=code.name)
            for m, caught in found.imports
        ]
    seen = FunctionSeen(
        name=code.name,
        module=function.module,
        chains=tuple(chains),
        columns=tuple(columns),
        texts=tuple(dict.fromkeys(texts)),
        guarded=guarded,
        calls=tuple(call for each in (body, *inner) for call in each.calls),
        certain_calls=tuple(call for call in body.calls if call.offset in certain),
        certain_columns=tuple((name, column) for offset, name, column in body.columns if offset in certain),
        entry=entry,
    )
    return seen, imports


def _called(value: Any, depth: int = 0) -> tuple[CallResult | None, int | None]:
    """Return the function that runs first when the object is called, None where the pickle does not show it.

    With it goes how many of its arguments stand before those of the call: the object of a method. None is not known.
    """
    if not isinstance(value, CallResult) or depth > _MAX_DEPTH:
        return None, None
    if as_function(value) is not None:
        return value, 0
    arguments = value.arguments if isinstance(value.arguments, tuple) else ()
    name = name_of(value.function)
    if name == "functools.partial" and arguments:
        return _called(arguments[0], depth + 1)[0], None
    if name == "types.MethodType" and arguments:
        return _called(arguments[0], depth + 1)[0], 1
    owner, method = value, "__call__"
    if name == "builtins.getattr" and len(arguments) == 2 and isinstance(arguments[1], str):
        owner, method = arguments
    carried = as_class(class_of(owner))
    found, sure = attribute_of(carried, method) if carried is not None else (None, False)
    return (found, 1) if sure and as_function(found) is not None else (None, None)


def with_inner(code: Code) -> list[Code]:
    """Return a code object and those of the functions and comprehensions in it."""
    codes = [code]
    for one in codes:
        if len(codes) < _MAX_LISTED:
            codes += [inner for part in one.constants if (inner := as_code(part)) is not None]
    return codes


def _real_names(function: Function) -> dict[str, str]:
    """What the globals stand for, by their names in the function: what comes from a module has a name of its own."""
    return {
        name: module_of(value) or name_of(value) or f"<{name}>"
        for name, value, _ in function.variables.values
        if isinstance(name, str)
    }
