"""With how many arguments the pickled object can be called, told without having it."""

from dataclasses import dataclass, field
from typing import Any

from predictd.pickles.bytecode import Code
from predictd.pickles.contents import WRAPPED
from predictd.pickles.forms import (
    Carried,
    Function,
    as_class,
    as_function,
    attribute_of,
    class_of,
    is_plain,
    name_of,
)
from predictd.runner.machine import Global, Items, Made, Pairs

_MOST_DEEP = 8
# Models of these modules have no __call__; torch and Keras have, but not for a DataFrame.
_NOT_CALLABLE = (
    "lightgbm.sklearn.", "lightgbm.basic.", "xgboost.sklearn.", "xgboost.core.", "catboost.core.", "pandas.core.",
    "pandas.DataFrame", "sklearn.linear_model.", "sklearn.ensemble.", "sklearn.pipeline.", "sklearn.tree.",
    "sklearn.svm.", "sklearn.neural_network.", "sklearn.neighbors.", "sklearn.preprocessing.",
    "collections.OrderedDict", "collections.defaultdict",
)  # fmt: skip
_NETWORKS = ("torch.", "keras.", "tensorflow.")
_ARRAYS = ("._reconstruct", "._frombuffer")


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What the pickled object is.

    Attributes:
        what: for people, for example 'the function predict'.
        callable: None where the pickle does not say.
        arguments: names of the positional arguments, None where the pickle does not say.
        required: how many of them have no default.
        takes_any: whether it takes any number of them.
        keywords: the keyword-only arguments without a default.
        network: whether it is a network itself, which takes tensors and not DataFrames.
        code: the code that runs when it is called, None where the pickle does not say.
    """

    what: str
    callable: bool | None = None
    arguments: tuple[str, ...] | None = None
    required: int = 0
    takes_any: bool = False
    keywords: tuple[str, ...] = ()
    network: bool = False
    code: Code | None = field(default=None, repr=False)

    @property
    def shown(self) -> str:
        """For people, with the arguments where they are known: 'the function predict(live_features)'."""
        if self.arguments is None:
            return self.what
        words = [*self.arguments, *(["*args"] if self.takes_any else [])]
        if self.keywords:
            words += [*([] if self.takes_any else ["*"]), *self.keywords]
        return f"{self.what}({', '.join(words)})"

    @property
    def problem(self) -> str | None:
        """What is wrong with the arguments, as the failure `bad_signature` names it; None if nothing surely is."""
        if self.arguments is None:
            return None
        if self.keywords:
            return f"the keyword-only argument {', '.join(self.keywords)}"
        if self.required > 2:
            return f"{self.required} ({', '.join(self.arguments[: self.required])})"
        if not self.arguments and not self.takes_any:
            return "none"
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
    elif isinstance(top, Made) and depth < _MOST_DEEP:
        return _of_made(top, depth)
    return Signature(what=what)


def _of_function(function: Function, depth: int) -> Signature:
    if isinstance(function.wrapped, Made):
        inner = signature_of(function.wrapped, depth + 1)
        if inner.arguments is not None:
            return inner
    code = function.code
    what = "a lambda" if code.name == "<lambda>" else f"the function {code.name}"
    return Signature(
        what=what,
        callable=True,
        arguments=code.arguments,
        required=max(0, len(code.arguments) - function.defaults),
        takes_any=code.takes_any,
        keywords=function.required_keywords,
        code=code,
    )


def _of_made(made: Made, depth: int) -> Signature:
    name = name_of(made.function) or ""
    arguments = made.arguments if isinstance(made.arguments, tuple) else ()
    if name == "types.MethodType" and arguments:
        return _of_method(arguments[0], depth)
    if name == "builtins.getattr" and len(arguments) == 2 and isinstance(arguments[1], str):
        return _of_attribute(arguments[0], arguments[1], depth)
    if name == "functools.partial" and arguments:
        return _of_partial(made, depth)
    carried = as_class(class_of(made))
    return _of_instance(carried, depth) if carried is not None else _of_library(name_of(class_of(made)) or name)


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


def _of_instance(carried: Carried, depth: int) -> Signature:
    called, sure = attribute_of(carried, "__call__")
    what = f"an object of {carried.name}" if carried.module != WRAPPED else "a model wrapped by predictd"
    if called is None:
        return Signature(what=what, callable=False if sure else None)
    if "__signature__" in {key for key, _, _ in carried.attributes.values if isinstance(key, str)}:
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
    if signature.arguments is None:
        return Signature(what=what, callable=signature.callable)
    taken = 1 if signature.arguments else 0
    return Signature(
        what=what,
        callable=True,
        arguments=signature.arguments[taken:],
        required=max(0, signature.required - taken),
        takes_any=signature.takes_any,
        keywords=signature.keywords,
        code=signature.code,
    )


def _of_partial(made: Made, depth: int) -> Signature:
    """Arguments that are given by name make all behind them keyword-only with a default, as Python sees it."""
    inner = signature_of(made.arguments[0], depth + 1)
    state = next((one for one in made.states if isinstance(one, tuple) and len(one) == 4), None)
    if inner.arguments is None or state is None:
        return Signature(what=f"a partial of {inner.what}", callable=inner.callable)
    given = len(state[1]) if isinstance(state[1], tuple) else 0
    named = {key for key, _, _ in state[2].values if isinstance(key, str)} if isinstance(state[2], Pairs) else set()
    left = inner.arguments[given:]
    first = next((place for place, name in enumerate(left) if name in named), len(left))
    behind = [name for place, name in enumerate(left[first:], first + given) if place < inner.required]
    return Signature(
        what=f"a partial of {inner.what}",
        callable=True,
        arguments=left[:first],
        required=min(first, max(0, inner.required - given)),
        takes_any=inner.takes_any and first == len(left),
        keywords=tuple(name for name in (*behind, *inner.keywords) if name not in named),
        code=inner.code,
    )


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
