"""Determine the number of arguments of a model, by the rule of the public runner: its number of parameters, 1 or 2."""

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

POSITIONAL_ONLY = inspect.Parameter.POSITIONAL_ONLY
POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD
VAR_POSITIONAL = inspect.Parameter.VAR_POSITIONAL
KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
VAR_KEYWORD = inspect.Parameter.VAR_KEYWORD
_MAX_SHOWN = 8


class SignatureError(Exception):
    """A model can't be called with one or two arguments. The message lists its parameters."""


class Parameter(NamedTuple):
    """A parameter of a model; `kind` is one of `inspect.Parameter`'s."""

    name: str
    kind: int = POSITIONAL
    has_default: bool = False


def parameters_of(model: Any) -> list[Parameter]:
    """Return the parameters of a callable as `inspect.signature` sees them: `__wrapped__` and partials are followed.

    Raises:
        SignatureError: Python can't determine them, as for some functions written in C.
    """
    try:
        parameters = inspect.signature(model).parameters.values()
    except (TypeError, ValueError):
        raise SignatureError("parameters that inspect.signature can't determine") from None
    return [Parameter(item.name, item.kind, item.default is not item.empty) for item in parameters]


def count_arguments(parameters: Sequence[Parameter]) -> int:
    """Return the number of positional arguments of a model: 1 (features) or 2 (and benchmark models).

    Every parameter counts, including `*args` and parameters with a default.

    Raises:
        SignatureError: There are none or more than two parameters, or one of them can't be passed by position.
    """
    count = len(parameters)
    if count == 0:
        raise SignatureError("none")
    shown = f"{count} ({show_parameters(parameters)})"
    if count > 2:
        raise SignatureError(shown)
    by_position = [item for item in parameters if item.kind in (POSITIONAL_ONLY, POSITIONAL)]
    takes_any = any(item.kind == VAR_POSITIONAL for item in parameters)
    required = [item.name for item in parameters if item.kind == KEYWORD_ONLY and not item.has_default]
    if required or (len(by_position) < count and not takes_any):
        names = [show_parameter(item) for item in parameters if item.kind in (KEYWORD_ONLY, VAR_KEYWORD)]
        raise SignatureError(f"{shown}, of which {' and '.join(names)} can't be passed by position")
    return count


def unexpected_default(parameters: Sequence[Parameter]) -> str | None:
    """Return the name of a second parameter that has a default and is not named after the benchmark models."""
    second = parameters[1] if len(parameters) == 2 else None
    if second is None or not second.has_default or second.kind not in (POSITIONAL_ONLY, POSITIONAL):
        return None
    return None if "benchmark" in second.name.lower() else second.name


def describe_unexpected_default(name: str) -> str:
    """Return a warning for the author of such a second parameter."""
    return f"The second parameter, {name}, gets the live benchmark models instead of its default."


def show_parameters(parameters: Sequence[Parameter]) -> str:
    """Return the parameters as in a definition, without default values: 'live_features, proportion=..., *args'."""
    words: list[str] = []
    for parameter in parameters[:_MAX_SHOWN]:
        if parameter.kind == KEYWORD_ONLY and not any(word.startswith("*") for word in words):
            words.append("*")
        words.append(show_parameter(parameter))
    return ", ".join([*words, *(["..."] if len(parameters) > _MAX_SHOWN else [])])


def show_parameter(parameter: Parameter) -> str:
    """Return a parameter as in a definition, without its default value."""
    stars = "*" if parameter.kind == VAR_POSITIONAL else "**" if parameter.kind == VAR_KEYWORD else ""
    return f"{stars}{parameter.name}{'=...' if parameter.has_default else ''}"
