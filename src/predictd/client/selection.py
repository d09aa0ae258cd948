"""Find the runtime, data version, model or pickle that a name stands for."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from predictd.client.models import DataVersion, Model, Pickle, Runtime, Submission
from predictd.domain.errors import NotFoundError

RuntimeChooser = Callable[[Path, Sequence[Runtime]], Runtime | None]
"""Returns the runtime that matches a pickle, or None to let the server choose."""

_PYTHON = re.compile(r"(?<!\d)(3)[._](\d{1,2})(?!\d)")


def choose_runtime(text: str, runtimes: Sequence[Runtime]) -> Runtime:
    """Return the runtime with this name, image, tag, id or Python version (3.12); of several, preferably the default.

    Raises:
        NotFoundError: There is no such runtime; the message lists the available ones.
    """
    name = text.strip().lower()
    matches = [runtime for runtime in runtimes if name in _names(runtime)]
    matches = matches or [runtime for runtime in runtimes if python_of(runtime) == name]
    if not matches:
        available = ", ".join(runtime.name for runtime in runtimes) or "none"
        raise NotFoundError(f"The server has no runtime {text[:60]!r}. Available runtimes: {available}.")
    return next((runtime for runtime in matches if runtime.default), matches[0])


def python_of(runtime: Runtime) -> str | None:
    """Return the Python version in a runtime's image or name, such as '3.12'."""
    match = _PYTHON.search(f"{runtime.image or ''} {runtime.name}")
    return f"{match[1]}.{match[2]}" if match else None


def choose_data_version(text: str, versions: Sequence[DataVersion]) -> DataVersion:
    """Return the data version with this name or id.

    Raises:
        NotFoundError: There is no such data version; the message lists the available ones.
    """
    match = next((version for version in versions if text in (version.name, version.id)), None)
    if match is None:
        available = ", ".join(version.name for version in versions) or "none"
        raise NotFoundError(f"The server has no data version {text[:60]!r}. Available data versions: {available}.")
    return match


def find_model(models: Sequence[Model], name: str) -> Model | None:
    """Return the model with this id or name, preferably in the same case."""
    exact = [model for model in models if name in (model.name, model.id)]
    case_insensitive = [model for model in models if model.name.lower() == name.lower()]
    return next(iter(exact + case_insensitive), None)


def previous_pickle(model: Model, pickles: Sequence[Pickle], submissions: Sequence[Submission]) -> Pickle | None:
    """Return the newest validated pickle of the model that is older than its assigned one, if it has one.

    A pickle belongs to a model if it was uploaded for it, or if one of the model's submissions came from it.

    Args:
        model: The model.
        pickles: All pickles of the account.
        submissions: All submissions of the model.
    """
    run_ids = {submission.run_id for submission in submissions if submission.run_id}
    assigned = next((pickle for pickle in pickles if pickle.id == model.pickle_id), None)
    candidates = [
        pickle
        for pickle in pickles
        if pickle.is_validated
        and pickle.id != model.pickle_id
        and (pickle.model_id == model.id or any(run.id in run_ids for run in pickle.runs))
        and (assigned is None or _time_of(pickle) < _time_of(assigned))
    ]
    return max(candidates, key=_time_of, default=None)


def _time_of(pickle: Pickle) -> datetime:
    return pickle.inserted_at or datetime.min.replace(tzinfo=UTC)


def _names(runtime: Runtime) -> set[str]:
    image, tag = runtime.image or "", runtime.tag or ""
    return {name.lower() for name in (runtime.id, runtime.name, image, tag, f"{image}:{tag}") if name}
