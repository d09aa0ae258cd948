"""With how many arguments the pickled object can be called, told without having it."""

from dataclasses import dataclass, field
from typing import Any

from predictd.pickles.bytecode import Code
from predictd.pickles.model_summary import WRAPPED
from predictd.pickles.reconstruct import (
    Carried,
    Function,
    as_class,
    as_function,
    attribute_of,
    attributes_of,
    class_of,
    is_plain,
    name_of,
)
from predictd.runner.calling_convention import (
    KEYWORD_ONLY,
    POSITIONAL,
    VAR_POSITIONAL,
    Parameter,
    SignatureError,
    count_arguments,
    show_parameters,
)
from predictd.runner.pickle_vm import CallResult, Global, Items, Pairs

_MOST_DEEP = 8
# Models of these modules have no __call__; torch and Keras have, but not for a DataFrame.
_NOT_CALLABLE = (
    "lightgbm.sklearn.", "lightgbm.basic.", "xgboost.sklearn.", "xgboost.core.", "catboost.core.", "pandas.core.",
    "pandas.DataFrame", "sklearn.linear_model.", "sklearn.ensemble.", "sklearn.pipeline.", "sklearn.tree.",
    "sklearn.svm.", "sklearn.neural_network.", "sklearn.neighbors.", "sklearn.preprocessing.",
    "collections.OrderedDict", "collections.defaultdict",
)  # fmt: skip
_NETWORKS = ("torch.", "keras.", "tensorflow.")
# Attributes by which an object says itself what its parameters are.
_OVERRIDES = ("__signature__", "__wrapped__")
_ARRAYS = ("._reconstruct", "._frombuffer")


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What the pickled object is.

    Attributes:
        what: for people, for example 'the function predict'.
        callable: None where the pickle does not say.
        parameters: as `inspect.signature` has them, None where the pickle does not say.
        network: whether it is a network itself, which takes tensors and not DataFrames.
        code: the code that runs when it is called, None where the pickle does not say.
    """

    what: str
    callable: bool | None = None
    parameters: tuple[Parameter, ...] | None = None
    network: bool = False
    code: Code | None = field(default=None, repr=False)

    @property
    def arguments(self) -> tuple[str, ...] | None:
        """The names of the parameters that can be passed by position, None where the pickle does not say."""
        if self.parameters is None:
            return None
        return tuple(one.name for one in self.parameters if one.kind == POSITIONAL)

    @property
    def shown(self) -> str:
        """For people, with the parameters where they are known: 'the function predict(live_features)'."""
        return self.what if self.parameters is None else f"{self.what}({show_parameters(self.parameters)})"

    @property
    def problem(self) -> str | None:
        """What is wrong with the parameters, as the failure `bad_signature` names it; None if nothing surely is."""
        if self.parameters is None:
            return None
        try:
            count_arguments(self.parameters)
        except SignatureError as error:
            return str(error)
        return None


def signature_of(top: Any, depth: int = 0) -> Signature:
    """What the object on top of the pickle can be called with."""
    function, carried = as_function(top), as_class(top)
    what = "an object that can't be told"
    if function is not None and depth < _MOST_DEEP:
        return _of_function(function, depth)
    if carried is not None:
        what = f"the class {carried.name}"
    elif is_plain(top):
        return Signature(what=_plain(top), callable=False)
    elif isinstance(top, Global):
        what = f"only the name {name_of(top)}"
    elif isinstance(top, CallResult) and depth < _MOST_DEEP:
        return _of_made(top, depth)
    return Signature(what=what)


def _of_function(function: Function, depth: int) -> Signature:
    code = function.code
    what = "a lambda" if code.name == "<lambda>" else f"the function {code.name}"
    if function.wrapped is not None:
        inner = signature_of(function.wrapped, depth + 1)
        return inner if inner.parameters is not None else Signature(what=what, callable=True, code=code)
    return Signature(what=what, callable=True, parameters=function.parameters, code=code)


def _of_made(made: CallResult, depth: int) -> Signature:
    name = name_of(made.function) or ""
    arguments = made.arguments if isinstance(made.arguments, tuple) else ()
    if name == "types.MethodType" and arguments:
        return _of_method(arguments[0], depth)
    if name == "builtins.getattr" and len(arguments) == 2 and isinstance(arguments[1], str):
        return _of_attribute(arguments[0], arguments[1], depth)
    if name == "functools.partial" and arguments:
        return _of_partial(made, depth)
    carried = as_class(class_of(made))
    return (
        _of_instance(carried, attributes_of(made), depth)
        if carried is not None
        else _of_library(name_of(class_of(made)) or name)
    )


def _of_library(name: str) -> Signature:
    """An object whose class, or what makes it, is not in the pickle."""
    if not name:
        return Signature(what="an object that can't be told")
    if name.startswith(_NETWORKS):
        return Signature(what=f"an object of {name}", network=True)
    is_class = name.rpartition(".")[2].lstrip("_")[:1].isupper() or name.startswith("collections.")
    is_array = name.startswith("numpy.") and name.endswith(_ARRAYS)
    surely_not = (is_class and name.startswith(_NOT_CALLABLE)) or is_array
    return Signature(what=f"an object of {name}", callable=False if surely_not else None)


def _of_instance(carried: Carried, own: Pairs, depth: int) -> Signature:
    called, sure = attribute_of(carried, "__call__")
    what = f"an object of {carried.name}" if carried.module != WRAPPED else "a model wrapped by predictd"
    if called is None:
        return Signature(what=what, callable=False if sure else None)
    if any(attributes.get(name) is not None for name in _OVERRIDES for attributes in (carried.attributes, own)):
        return Signature(what=what, callable=True)
    return _without_first(signature_of(called, depth + 1), f"{what}, called with ")


def _of_method(function: Any, depth: int) -> Signature:
    inner = signature_of(function, depth + 1)
    return _without_first(inner, f"a method, {inner.what.removeprefix('the function ')}")


def _of_attribute(owner: Any, name: str, depth: int) -> Signature:
    carried = as_class(class_of(owner))
    method = attribute_of(carried, name)[0] if carried is not None else None
    if method is None or as_function(method) is None:
        return Signature(what=f"the attribute {name} of an object")
    return _of_method(method, depth)


def _without_first(signature: Signature, what: str) -> Signature:
    """That of a function whose first argument is the object itself."""
    first, *others = signature.parameters or (None,)
    if first is not None and first.kind == VAR_POSITIONAL:
        others.insert(0, first)
    known = first is not None and first.kind in (POSITIONAL, VAR_POSITIONAL)
    return Signature(
        what=what, callable=signature.callable, parameters=tuple(others) if known else None, code=signature.code
    )


def _of_partial(made: CallResult, depth: int) -> Signature:
    """Arguments that are given by name make all behind them keyword-only, as `inspect.signature` sees it."""
    inner = signature_of(made.arguments[0], depth + 1)
    what = f"a partial of {inner.what}"
    state = next((one for one in made.states if isinstance(one, tuple) and len(one) == 4), None)
    if inner.parameters is None or state is None:
        return Signature(what=what, callable=inner.callable)
    given = len(state[1]) if isinstance(state[1], tuple) else 0
    named = {key for key, _, _ in state[2].values if isinstance(key, str)} if isinstance(state[2], Pairs) else set()
    left: list[Parameter] = []
    by_name = False
    for one in inner.parameters:
        if one.kind == POSITIONAL and given:
            given -= 1
            continue
        by_name = by_name or (one.kind == POSITIONAL and one.name in named)
        if by_name and one.kind == VAR_POSITIONAL:
            continue
        kind = KEYWORD_ONLY if by_name and one.kind == POSITIONAL else one.kind
        left.append(Parameter(one.name, kind, one.has_default or one.name in named))
    return Signature(what=what, callable=True, parameters=tuple(left), code=inner.code)


def _plain(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, Pairs):
        keys = [key for key, _, _ in value.values[:3] if isinstance(key, str)]
        return f"a dict ({', '.join(keys)}, ...)" if keys else "a dict"
    if isinstance(value, Items):
        return f"a {value.kind}"
    return {"Long": "a text or bytes", "str": "a text", "tuple": "a tuple"}.get(
        type(value).__name__, f"an object of type {type(value).__name__}"
    )
