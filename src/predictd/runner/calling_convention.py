"""With how many arguments a model is called, by the rule of the public runner: as many as it has parameters, 1 or 2."""

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

POSITIONAL_ONLY = inspect.Parameter.POSITIONAL_ONLY
POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD
VAR_POSITIONAL = inspect.Parameter.VAR_POSITIONAL
KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
VAR_KEYWORD = inspect.Parameter.VAR_KEYWORD
_MOST_SHOWN = 8


class SignatureError(Exception):
    """A model can't be called with its one or two arguments. The text says what it takes instead."""


class Parameter(NamedTuple):
    """A parameter of a model; `kind` is one of `inspect.Parameter`'s."""

    name: str
    kind: int = POSITIONAL
    has_default: bool = False


def parameters_of(model: Any) -> list[Parameter]:
    """Return the parameters of a callable as `inspect.signature` sees them: `__wrapped__` and partials are followed.

    Raises:
        SignatureError: Python can't determine them, as for some functions in C.
    """
    try:
        parameters = inspect.signature(model).parameters.values()
    except (TypeError, ValueError):
        raise SignatureError("parameters that inspect.signature can't determine") from None
    return [Parameter(one.name, one.kind, one.default is not one.empty) for one in parameters]


def count_arguments(parameters: Sequence[Parameter]) -> int:
    """Return with how many positional arguments a model is called: 1 (features) or 2 (and benchmark models).

    Every parameter counts, `*args` and those with a default too.

    Raises:
        SignatureError: there are none or more than two, or one of them can't be passed by position.
    """
    count = len(parameters)
    if count == 0:
        raise SignatureError("none")
    shown = f"{count} ({show_parameters(parameters)})"
    if count > 2:
        raise SignatureError(shown)
    by_position = [one for one in parameters if one.kind in (POSITIONAL_ONLY, POSITIONAL)]
    takes_any = any(one.kind == VAR_POSITIONAL for one in parameters)
    required = [one.name for one in parameters if one.kind == KEYWORD_ONLY and not one.has_default]
    if required or (len(by_position) < count and not takes_any):
        names = [show_parameter(one) for one in parameters if one.kind in (KEYWORD_ONLY, VAR_KEYWORD)]
        raise SignatureError(f"{shown}, of which {' and '.join(names)} can't be passed by position")
    return count


def unexpected_default(parameters: Sequence[Parameter]) -> str | None:
    """Return the name of a second parameter that has a default and is not named after the benchmark models."""
    second = parameters[1] if len(parameters) == 2 else None
    if second is None or not second.has_default or second.kind not in (POSITIONAL_ONLY, POSITIONAL):
        return None
    return None if "benchmark" in second.name.lower() else second.name


def describe_unexpected_default(name: str) -> str:
    """Return a sentence for whoever wrote such a second parameter."""
    return f"The second parameter, {name}, gets the live benchmark models in place of its default."


def show_parameters(parameters: Sequence[Parameter]) -> str:
    """Return them as in a definition, without their defaults' values: 'live_features, proportion=..., *args'."""
    words: list[str] = []
    for one in parameters[:_MOST_SHOWN]:
        if one.kind == KEYWORD_ONLY and not any(word.startswith("*") for word in words):
            words.append("*")
        words.append(show_parameter(one))
    return ", ".join([*words, *(["..."] if len(parameters) > _MOST_SHOWN else [])])


def show_parameter(parameter: Parameter) -> str:
    """Return one as in a definition, without its default's value."""
    stars = "*" if parameter.kind == VAR_POSITIONAL else "**" if parameter.kind == VAR_KEYWORD else ""
    return f"{stars}{parameter.name}{'=...' if parameter.has_default else ''}"
