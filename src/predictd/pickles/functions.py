"""The functions in a pickle: what each does, and what every successful call of the model executes."""

from dataclasses import dataclass, replace
from typing import Any

from predictd.pickles.bytecode import Code, CodeSummary, summarize_code
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
        names: the names that unpickling looks up in it.
        at_load: whether unpickling imports it; otherwise a function does when it is called.
        certain: whether every successful run imports it.
        guarded: whether the function catches exceptions.
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
class FunctionSummary:
    """A function in the pickle, with the functions that are defined in it.

    Attributes:
        module: where it was defined.
        chains: dotted names that it loads, with the modules' real names; '<name>' is a variable.
        columns: (argument, string) where an argument is indexed with a string.
        texts: the strings among its constants.
        guarded: whether it catches exceptions.
        calls: what it calls.
        certain_calls: the calls that every successful run makes.
        certain_columns: (argument, column) that every successful run reads from the unchanged argument.
        entry: whether it runs when the model is called.
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
        imports: the imports of the functions.
        returns: what the model can return; empty if it never returns, None if unknown.
    """

    functions: tuple[FunctionSummary, ...]
    imports: tuple[Import, ...]
    returns: tuple[Value, ...] | None


def behavior_of(carried: list[tuple[CallResult, Function]], top: Any, version: str | None, *, exact: bool) -> Behavior:
    """Return what the functions of a pickle do in a version of Python.

    Args:
        carried: the parsed objects of the functions, and the functions.
        top: the pickled object, or None if unknown.
        version: the version that decodes the bytecode, or None.
        exact: whether this version runs the bytecode; otherwise nothing is certain.
    """
    if version is None:
        summaries = [_summarize(function, [], Body(), [], frozenset(), entry=False) for _, function in carried]
        return Behavior(functions=tuple(summary for summary, _ in summaries), imports=(), returns=None)
    bodies = _Bodies(carried, version)
    entry, skipped = _entry_of(top) if exact and version in FLOW_PYTHONS else (None, None)
    if entry is not None:
        bodies.enter(entry, skipped)
    certain = bodies.certain(entry) if entry is not None else {}
    functions, imports = [], []
    for made, function in carried:
        body, inner = bodies.of(made)
        offsets = certain.get(id(made), frozenset())
        seen_function, seen_imports = _summarize(
            function, bodies.summaries(made), body, inner, offsets, entry=made is entry
        )
        functions.append(seen_function)
        imports += seen_imports
    returns = bodies.returns(entry) if entry is not None else None
    return Behavior(functions=tuple(functions), imports=tuple(imports), returns=returns)


class _Bodies:
    """The bodies of the pickled functions, by the identity of their parsed objects."""

    def __init__(self, carried: list[tuple[CallResult, Function]], version: str) -> None:
        self._version = version
        self._functions = {id(made): function for made, function in carried}
        self._bodies: dict[int, tuple[Body, list[Body]]] = {}
        self._frames: dict[int, tuple[str, ...]] = {}
        # Comprehensions and inner functions are constants of a function and count as part of it.
        self._codes = {id(made): with_inner(function.code) for made, function in carried}
        self._summaries = {key: [summarize_code(code, version) for code in codes] for key, codes in self._codes.items()}
        summaries = [code_summary for code_summaries in self._summaries.values() for code_summary in code_summaries]
        self._changed = {name for code_summary in summaries for name in code_summary.changed}
        for chain in (chain for code_summary in summaries for chain in code_summary.chains):
            owner, _, method = chain.rpartition(".")
            if method in _MUTATING:
                self._changed.add(owner.strip("<>"))

    def summaries(self, made: CallResult) -> list[CodeSummary]:
        """Return the summaries of a function and of its inner functions."""
        return self._summaries[id(made)]

    def of(self, made: CallResult) -> tuple[Body, list[Body]]:
        """Return the body of a function, and those of its inner functions."""
        if id(made) not in self._bodies:
            function = self._functions[id(made)]
            known_values = self._known_values(function)

            def variables(name: str, outer: bool) -> Value:
                if name in self._changed:
                    return UNKNOWN
                return known_values.get(name, UNKNOWN if outer else Value(name=name))

            own, *inner = self._codes[id(made)]
            self._bodies[id(made)] = (
                follow(own, self._version, variables, self._frames.get(id(made), ())),
                [follow(code, self._version, variables) for code in inner],
            )
        return self._bodies[id(made)]

    def enter(self, entry: CallResult, skipped: int | None) -> None:
        """Treat the arguments of the entry function as DataFrames, except for the first ones, which are skipped."""
        code = self._functions[id(entry)].code if id(entry) in self._functions else None
        if code is None or skipped is None:
            return
        passed = code.arguments[skipped:]
        # A second argument is passed if there are exactly two; a parameter with a default may keep it.
        self._frames[id(entry)] = passed if len(passed) == 2 and not code.takes_any else passed[:1]

    def certain(self, entry: CallResult) -> dict[int, frozenset[int]]:
        """Return the functions that every successful run calls, with the offsets of the instructions it executes in
        them.
        """
        certain: dict[int, frozenset[int]] = {}
        pending = [entry]
        while pending:
            made = pending.pop()
            if id(made) in certain or id(made) not in self._functions:
                continue
            code = self._functions[id(made)].code
            flow = flow_of(code, self._version) if code.kind == "function" else None
            certain[id(made)] = flow.certain if flow is not None else frozenset()
            calls = [call for call in self.of(made)[0].calls if call.offset in certain[id(made)]]
            pending += [call.function.carried for call in calls if isinstance(call.function.carried, CallResult)]
        return certain

    def returns(self, entry: CallResult) -> tuple[Value, ...] | None:
        """Return what a function can return, or None if unknown."""
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

    def _known_values(self, function: Function) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for name, value, _ in function.variables.values:
            if isinstance(name, str):
                module = module_of(value) or name_of(value)
                kind = name_of(class_of(value)) or ""
                if module is not None:
                    values[name] = Value(name=module)
                elif id(value) in self._functions:
                    values[name] = Value(name=f"<{name}>", carried=value)
                else:
                    values[name] = replace(constant(value) if not kind else Value(type=kind), name=f"<{name}>")
        return values


def _summarize(
    function: Function, looks: list[CodeSummary], body: Body, inner: list[Body], certain: frozenset[int], *, entry: bool
) -> tuple[FunctionSummary, list[Import]]:
    code = function.code
    real_names = _real_names(function)
    chains: dict[str, None] = {}
    columns: dict[tuple[str, str], None] = {}
    imports: list[Import] = []
    texts = (
        [text for inner_code in with_inner(code) for text in list(texts_in(inner_code.constants))[:_MAX_LISTED]]
        if looks
        else []
    )
    guarded = False
    certain_modules = {module for offset, module in body.imports if offset in certain}
    for index, code_summary in enumerate(looks):
        for chain in code_summary.chains:
            first, dot, rest = chain.partition(".")
            chains[real_names.get(first.strip("<>"), first) + dot + rest] = None
        columns.update(dict.fromkeys(code_summary.columns))
        guarded = guarded or code_summary.guarded
        imports += [
            Import(
                module=m, at_load=False, certain=index == 0 and m in certain_modules, guarded=caught, function=code.name
            )
            for m, caught in code_summary.imports
        ]
    summary = FunctionSummary(
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
    return summary, imports


def _entry_of(value: Any, depth: int = 0) -> tuple[CallResult | None, int | None]:
    """Return the function that runs first when the object is called, or None if the pickle does not show it.

    Also returns how many of its arguments come before those of the call (the object of a method), or None if unknown.
    """
    if not isinstance(value, CallResult) or depth > _MAX_DEPTH:
        return None, None
    if as_function(value) is not None:
        return value, 0
    arguments = value.arguments if isinstance(value.arguments, tuple) else ()
    name = name_of(value.function)
    if name == "functools.partial" and arguments:
        return _entry_of(arguments[0], depth + 1)[0], None
    if name == "types.MethodType" and arguments:
        return _entry_of(arguments[0], depth + 1)[0], 1
    owner, method = value, "__call__"
    if name == "builtins.getattr" and len(arguments) == 2 and isinstance(arguments[1], str):
        owner, method = arguments
    carried = as_class(class_of(owner))
    attribute, is_certain = attribute_of(carried, method) if carried is not None else (None, False)
    return (attribute, 1) if is_certain and as_function(attribute) is not None else (None, None)


def with_inner(code: Code) -> list[Code]:
    """Return a code object and those of the functions and comprehensions in it."""
    codes = [code]
    for outer in codes:
        if len(codes) < _MAX_LISTED:
            codes += [inner for part in outer.constants if (inner := as_code(part)) is not None]
    return codes


def _real_names(function: Function) -> dict[str, str]:
    """Return the real names of globals by their names in the function."""
    return {
        name: module_of(value) or name_of(value) or f"<{name}>"
        for name, value, _ in function.variables.values
        if isinstance(name, str)
    }
