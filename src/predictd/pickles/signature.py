"""Determine from its bytes how a pickled object can be called."""

from dataclasses import dataclass, field
from typing import Any

from predictd.pickles.bytecode import Code
from predictd.pickles.model_summary import WRAPPED
from predictd.pickles.reconstruct import (
    ClassByValue,
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

_MAX_DEPTH = 8
# Models of these modules have no __call__; torch and Keras have, but not for a DataFrame.
_NOT_CALLABLE = (
    "lightgbm.sklearn.", "lightgbm.basic.", "xgboost.sklearn.", "xgboost.core.", "catboost.core.", "pandas.core.",
    "pandas.DataFrame", "sklearn.linear_model.", "sklearn.ensemble.", "sklearn.pipeline.", "sklearn.tree.",
    "sklearn.svm.", "sklearn.neural_network.", "sklearn.neighbors.", "sklearn.preprocessing.",
    "collections.OrderedDict", "collections.defaultdict",
)  # fmt: skip
_NETWORKS = ("torch.", "keras.", "tensorflow.")
# Attributes that override an object's parameters.
_OVERRIDES = ("__signature__", "__wrapped__")
_ARRAYS = ("._reconstruct", "._frombuffer")


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The callable in a pickle.

    Attributes:
        description: a text for people, such as 'the function predict'.
        callable: whether it can be called, or None if unknown.
        parameters: as `inspect.signature` returns them, or None if unknown.
        network: whether it is a network, which takes tensors instead of DataFrames.
        code: the code that runs when it is called, or None if unknown.
    """

    description: str
    callable: bool | None = None
    parameters: tuple[Parameter, ...] | None = None
    network: bool = False
    code: Code | None = field(default=None, repr=False)

    @property
    def arguments(self) -> tuple[str, ...] | None:
        """The names of the positional parameters, or None if unknown."""
        if self.parameters is None:
            return None
        return tuple(parameter.name for parameter in self.parameters if parameter.kind == POSITIONAL)

    @property
    def shown(self) -> str:
        """A description for people with the parameters, if known: 'the function predict(live_features)'."""
        return (
            self.description if self.parameters is None else f"{self.description}({show_parameters(self.parameters)})"
        )

    @property
    def problem(self) -> str | None:
        """The problem with the parameters, as the failure `bad_signature` describes it, or None."""
        if self.parameters is None:
            return None
        try:
            count_arguments(self.parameters)
        except SignatureError as error:
            return str(error)
        return None


def signature_of(top: Any, depth: int = 0) -> Signature:
    """Return how the pickled object can be called."""
    function, carried = as_function(top), as_class(top)
    description = "an unknown object"
    if function is not None and depth < _MAX_DEPTH:
        return _of_function(function, depth)
    if carried is not None:
        description = f"the class {carried.name}"
    elif is_plain(top):
        return Signature(description=_plain(top), callable=False)
    elif isinstance(top, Global):
        description = f"only the name {name_of(top)}"
    elif isinstance(top, CallResult) and depth < _MAX_DEPTH:
        return _of_made(top, depth)
    return Signature(description=description)


def _of_function(function: Function, depth: int) -> Signature:
    code = function.code
    description = "a lambda" if code.name == "<lambda>" else f"the function {code.name}"
    if function.wrapped is not None:
        inner = signature_of(function.wrapped, depth + 1)
        return inner if inner.parameters is not None else Signature(description=description, callable=True, code=code)
    return Signature(description=description, callable=True, parameters=function.parameters, code=code)


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
    """Return the signature of an object whose class or factory is not in the pickle."""
    if not name:
        return Signature(description="an unknown object")
    if name.startswith(_NETWORKS):
        return Signature(description=f"an object of {name}", network=True)
    is_class = name.rpartition(".")[2].lstrip("_")[:1].isupper() or name.startswith("collections.")
    is_array = name.startswith("numpy.") and name.endswith(_ARRAYS)
    is_not_callable = (is_class and name.startswith(_NOT_CALLABLE)) or is_array
    return Signature(description=f"an object of {name}", callable=False if is_not_callable else None)


def _of_instance(carried: ClassByValue, instance_attributes: Pairs, depth: int) -> Signature:
    called, is_certain = attribute_of(carried, "__call__")
    description = f"an object of {carried.name}" if carried.module != WRAPPED else "a model wrapped by predictd"
    if called is None:
        return Signature(description=description, callable=False if is_certain else None)
    if any(
        attributes.get(name) is not None
        for name in _OVERRIDES
        for attributes in (carried.attributes, instance_attributes)
    ):
        return Signature(description=description, callable=True)
    return _without_first(signature_of(called, depth + 1), f"{description}, called with ")


def _of_method(function: Any, depth: int) -> Signature:
    inner = signature_of(function, depth + 1)
    return _without_first(inner, f"a method, {inner.description.removeprefix('the function ')}")


def _of_attribute(owner: Any, name: str, depth: int) -> Signature:
    carried = as_class(class_of(owner))
    method = attribute_of(carried, name)[0] if carried is not None else None
    if method is None or as_function(method) is None:
        return Signature(description=f"the attribute {name} of an object")
    return _of_method(method, depth)


def _without_first(signature: Signature, description: str) -> Signature:
    """Return the signature of a function without its first argument, the object itself."""
    first, *rest = signature.parameters or (None,)
    if first is not None and first.kind == VAR_POSITIONAL:
        rest.insert(0, first)
    is_known = first is not None and first.kind in (POSITIONAL, VAR_POSITIONAL)
    return Signature(
        description=description,
        callable=signature.callable,
        parameters=tuple(rest) if is_known else None,
        code=signature.code,
    )


def _of_partial(made: CallResult, depth: int) -> Signature:
    """Return a partial's signature: keyword arguments make all later parameters keyword-only, as in
    `inspect.signature`.
    """
    inner = signature_of(made.arguments[0], depth + 1)
    description = f"a partial of {inner.description}"
    state = next((each for each in made.states if isinstance(each, tuple) and len(each) == 4), None)
    if inner.parameters is None or state is None:
        return Signature(description=description, callable=inner.callable)
    positional_left = len(state[1]) if isinstance(state[1], tuple) else 0
    keywords = {key for key, _, _ in state[2].values if isinstance(key, str)} if isinstance(state[2], Pairs) else set()
    parameters: list[Parameter] = []
    by_name = False
    for parameter in inner.parameters:
        if parameter.kind == POSITIONAL and positional_left:
            positional_left -= 1
            continue
        by_name = by_name or (parameter.kind == POSITIONAL and parameter.name in keywords)
        if by_name and parameter.kind == VAR_POSITIONAL:
            continue
        kind = KEYWORD_ONLY if by_name and parameter.kind == POSITIONAL else parameter.kind
        parameters.append(Parameter(parameter.name, kind, parameter.has_default or parameter.name in keywords))
    return Signature(description=description, callable=True, parameters=tuple(parameters), code=inner.code)


def _plain(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, Pairs):
        keys = [key for key, _, _ in value.values[:3] if isinstance(key, str)]
        return f"a dict ({', '.join(keys)}, ...)" if keys else "a dict"
    if isinstance(value, Items):
        return f"a {value.kind}"
    return {"Truncated": "a string or bytes", "str": "a string", "tuple": "a tuple"}.get(
        type(value).__name__, f"an object of type {type(value).__name__}"
    )
