"""Which runtime or data version a person means."""

import re
from collections.abc import Sequence

from predictd.client.models import DataVersion, Model, Runtime
from predictd.domain.errors import NotFoundError

_PYTHON = re.compile(r"(?<!\d)(3)[._](\d{1,2})(?!\d)")


def choose_runtime(text: str, runtimes: Sequence[Runtime]) -> Runtime:
    """The runtime that is named by a Python (3.12), by its name, image, tag or id; of several the default.

    Raises:
        NotFoundError: there is none; names those that there are.
    """
    wanted = text.strip().lower()
    found = [one for one in runtimes if wanted in _names(one)] or [one for one in runtimes if python_of(one) == wanted]
    if not found:
        known = ", ".join(one.name for one in runtimes) or "none"
        raise NotFoundError(f"The server has no runtime {text[:60]!r}; there are: {known}.")
    return next((one for one in found if one.default), found[0])


def python_of(runtime: Runtime) -> str | None:
    """The Python of a runtime, such as '3.12', as its image or name tells it."""
    found = _PYTHON.search(f"{runtime.image or ''} {runtime.name}")
    return f"{found[1]}.{found[2]}" if found else None


def choose_data_version(text: str, versions: Sequence[DataVersion]) -> DataVersion:
    """The data version of that name or id.

    Raises:
        NotFoundError: there is none; names those that there are.
    """
    found = next((one for one in versions if text in (one.name, one.id)), None)
    if found is None:
        known = ", ".join(one.name for one in versions) or "none"
        raise NotFoundError(f"The server has no data version {text[:60]!r}; there are: {known}.")
    return found


def _names(runtime: Runtime) -> set[str]:
    image, tag = runtime.image or "", runtime.tag or ""
    return {one.lower() for one in (runtime.id, runtime.name, image, tag, f"{image}:{tag}") if one}


def model_named(models: Sequence[Model], name: str) -> Model | None:
    """The model of that name, in whatever case, or id."""
    exact = [one for one in models if name in (one.name, one.id)]
    alike = [one for one in models if one.name.lower() == name.lower()]
    return next(iter(exact + alike), None)
