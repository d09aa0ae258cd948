"""Reconstruct functions, classes and modules from a parsed pickle, as cloudpickle, dill and pickle write them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from predictd.pickles.bytecode import Code
from predictd.pickles.parser import Truncated
from predictd.runner.calling_convention import KEYWORD_ONLY, POSITIONAL, VAR_KEYWORD, VAR_POSITIONAL, Parameter
from predictd.runner.pickle_vm import CallResult, Global, Items, Pairs
from predictd.runner.version_scan import code_of

_TAKES_ANY, _TAKES_KEYWORDS = 0x04, 0x08
_KINDS = {0x20: "generator", 0x80: "coroutine", 0x200: "async generator"}
_MAX_DEPTH = 20
_PLAIN = (str, bytes, int, float, bool, type(None))


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function that the pickle contains by value.

    Attributes:
        module: the module that defined it, or None if unknown.
        parameters: as `inspect.signature` returns them if nothing is wrapped, or None if unknown.
        variables: the globals that it uses, and the variables of outer functions.
        wrapped: its `__wrapped__`, or None.
    """

    code: Code
    module: str | None
    parameters: tuple[Parameter, ...] | None
    variables: Pairs
    wrapped: Any


@dataclass(frozen=True, kw_only=True)
class ClassByValue:
    """A class that the pickle contains by value; `plain` is whether its metaclass is `type` and adds nothing."""

    name: str
    module: str | None
    bases: tuple[Any, ...]
    attributes: Pairs
    plain: bool


def name_of(value: Any) -> str | None:
    """Return 'module.name' of a global, or None."""
    if isinstance(value, Global) and isinstance(value.module, str) and isinstance(value.name, str):
        return f"{value.module}.{value.name}"
    if isinstance(value, CallResult) and (name_of(value.function) or "").endswith("._builtin_type"):
        names = value.arguments
        return f"types.{names[0]}" if isinstance(names, tuple) and names and isinstance(names[0], str) else None
    return None


def module_of(value: Any) -> str | None:
    """Return the name of a module that the pickle contains by reference, or None."""
    if isinstance(value, CallResult) and (name_of(value.function) or "").endswith(
        (".subimport", "_dill._import_module")
    ):
        names = value.arguments
        return names[0] if isinstance(names, tuple) and names and isinstance(names[0], str) else None
    return None


def as_code(value: Any) -> Code | None:
    """Return the code object that a call creates, or None."""
    arguments = value.arguments if isinstance(value, CallResult) else None
    if code_of(arguments) is None or not isinstance(arguments, tuple):
        return None
    newer = len(arguments) == 18
    constants, names, variables, _, name = arguments[7:12]
    frees, cells = arguments[-2:]
    if not all(_are_names(part) for part in (names, variables, frees, cells)) or not isinstance(constants, tuple):
        return None
    positional, keyword_only, flags = arguments[0], arguments[2], arguments[5]
    if not all(isinstance(number, int) for number in (positional, keyword_only, flags)):
        return None
    exceptions = arguments[15] if newer else b""
    stars = list(variables[positional + keyword_only :])
    any_name = stars.pop(0) if flags & _TAKES_ANY and stars else None
    return Code(
        name=name if isinstance(name, str) else "?",
        arguments=variables[:positional],
        keyword_only=variables[positional : positional + keyword_only],
        takes_any=any_name,
        takes_keywords=stars[0] if flags & _TAKES_KEYWORDS and stars else None,
        kind=next((kind for flag, kind in _KINDS.items() if flags & flag), "function"),
        bytecode=arguments[6],
        constants=constants,
        names=names,
        variables=variables,
        cells=(*cells, *frees),
        exceptions=exceptions if isinstance(exceptions, bytes) else b"",
        shape=len(arguments),
    )


def as_function(value: Any) -> Function | None:
    """Return the function that a call creates from a code object, or None."""
    if not isinstance(value, CallResult) or not isinstance(value.arguments, tuple) or not value.arguments:
        return None
    code = as_code(value.arguments[0])
    if code is None:
        return None
    slots, attributes = _states(value)
    defaults, required = slots.get("__defaults__"), slots.get("__kwdefaults__")
    if defaults is None and len(value.arguments) > 3:
        defaults = value.arguments[3]
    keyword_defaults = (
        {name for name, _, _ in required.values if isinstance(name, str)} if isinstance(required, Pairs) else set()
    )
    module = slots.get("__module__")
    return Function(
        code=code,
        module=module if isinstance(module, str) else None,
        parameters=None
        if attributes.get("__signature__") is not None
        else _parameters(code, defaults, keyword_defaults),
        variables=_variables(value, code, slots),
        wrapped=attributes.get("__wrapped__"),
    )


def _parameters(code: Code, defaults: Any, keyword_defaults: set[str]) -> tuple[Parameter, ...]:
    required = len(code.arguments) - (len(defaults) if isinstance(defaults, tuple) else 0)
    parameters = [Parameter(name, POSITIONAL, index >= required) for index, name in enumerate(code.arguments)]
    if code.takes_any is not None:
        parameters.append(Parameter(code.takes_any, VAR_POSITIONAL))
    parameters += [Parameter(name, KEYWORD_ONLY, name in keyword_defaults) for name in code.keyword_only]
    if code.takes_keywords is not None:
        parameters.append(Parameter(code.takes_keywords, VAR_KEYWORD))
    return tuple(parameters)


def as_class(value: Any) -> ClassByValue | None:
    """Return the class that the pickle contains by value, or None."""
    if not isinstance(value, CallResult) or not isinstance(value.arguments, tuple) or len(value.arguments) < 4:
        return None
    if not (name_of(value.function) or "").endswith(("._make_skeleton_class", "._make_skeleton_enum")):
        return None
    kind, name, bases, keywords = value.arguments[:4]
    attributes = _states(value)[1]
    module = keywords.get("__module__") if isinstance(keywords, Pairs) else None
    if module is None:
        module = attributes.get("__module__")
    return ClassByValue(
        name=name if isinstance(name, str) else "?",
        module=module if isinstance(module, str) else None,
        bases=bases if isinstance(bases, tuple) else (),
        attributes=attributes,
        plain=name_of(kind) in ("builtins.type", "abc.ABCMeta"),
    )


def class_of(value: Any) -> Any:
    """Return the class of an object, a `Global` or a `CallResult` class, or None if unknown."""
    if not isinstance(value, CallResult):
        return None
    called = name_of(value.function)
    if called in ("copyreg._reconstructor", "copyreg.__newobj__", "copy_reg._reconstructor"):
        return value.arguments[0] if isinstance(value.arguments, tuple) and value.arguments else None
    if as_class(value.function) is not None:
        return value.function
    name = (called or "").rpartition(".")[2].lstrip("_")
    return value.function if name[:1].isupper() else None


def attribute_of(carried: ClassByValue, name: str, depth: int = 0) -> tuple[Any, bool]:
    """Return an attribute of a class or its bases, and whether it is certain: no base is outside of the pickle."""
    attribute = carried.attributes.get(name)
    if attribute is not None:
        return attribute, carried.plain
    is_certain = carried.plain
    for base in carried.bases:
        inner = as_class(base)
        if inner is not None:
            attribute, base_is_certain = attribute_of(inner, name, depth + 1) if depth < _MAX_DEPTH else (None, False)
            if attribute is not None:
                return attribute, base_is_certain
            is_certain = is_certain and base_is_certain
        elif name_of(base) not in ("builtins.object", "__builtin__.object"):
            is_certain = False
    return None, is_certain


def texts_in(value: Any) -> Iterator[str]:
    """Yield all strings in constants, also in nested tuples, lists and dicts up to a depth."""
    pending = [(value, 0)]
    while pending:
        part, depth = pending.pop()
        if isinstance(part, str):
            yield part
        elif depth < _MAX_DEPTH:
            pending += [(child, depth + 1) for child in parts_of(part)]


def parts_of(value: Any) -> list[Any]:
    """Return the contents of a container, or an empty list."""
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Items):
        return value.values
    if isinstance(value, Pairs):
        return [part for key, item, _ in value.values for part in (key, item)]
    return []


def is_plain(value: Any) -> bool:
    """Return whether it is a number, a string or a container, which can't be called."""
    return isinstance(value, (*_PLAIN, tuple, Items, Pairs, Truncated))


def attributes_of(made: CallResult) -> Pairs:
    """Return the attributes that unpickling sets on an object or a function."""
    return _states(made)[1]


def _states(made: CallResult) -> tuple[Pairs, Pairs]:
    """Return the slots and the attributes that a setter or __setstate__ gets."""
    for state in made.states:
        if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], Pairs):
            attributes = state[0] if isinstance(state[0], Pairs) else Pairs()
            return state[1], attributes
        if isinstance(state, Pairs):
            return state, state
    return Pairs(), Pairs()


def _variables(value: CallResult, code: Code, slots: Pairs) -> Pairs:
    variables = Pairs()
    for scope in (slots.get("__globals__"), slots.get("globals"), *value.arguments[1:2]):
        if isinstance(scope, Pairs):
            variables.values += scope.values
    closure = slots.get("__closure__")
    if closure is None and len(value.arguments) > 4:
        closure = value.arguments[4]
    closure_cells = closure if isinstance(closure, tuple) else ()
    frees = code.cells[-len(closure_cells) :] if closure_cells else ()
    for name, cell in zip(frees, closure_cells, strict=False):
        if isinstance(cell, CallResult):
            inner = cell.arguments[0] if isinstance(cell.arguments, tuple) and cell.arguments else None
            states = [part for state in cell.states for part in parts_of(state) if part is not None]
            content = inner if inner is not None else next(iter(states), None)
            variables.values.append((name, content, cell.end - cell.place))
    return variables


def _are_names(part: Any) -> bool:
    return isinstance(part, tuple) and all(isinstance(name, str) for name in part)
