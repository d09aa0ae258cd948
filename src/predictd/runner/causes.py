"""Determine from an exception of the user's code the cause of the failure within its code.

The names of causes and of their facts are those of `predictd.domain.failures`. A cause only selects the remedy that a
user reads, so the text of a library's message is sufficient evidence.
"""

import errno
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from .packages import package_of
from .removed_apis import MODULE_NAMES, replacement_of_argument, replacement_of_method

Cause = tuple["str | None", "dict[str, str]"]
_NO_CAUSE: Cause = (None, {})
_MAX_TEXT = 100
_MAX_FRAMES = 1000
# The unpickler's message for a name that its module does not have.
MISSING_NAME = re.compile(r"Can't get attribute '?(.{1,200}?)'? on <module '([\w.]{1,200})'")
_SCRIPTS = {"__main__", "__mp_main__"}
_GPU = re.compile(r"\b(cuda|gpus?|mps|nvidia)\b", re.IGNORECASE)
_GPU_PACKAGES = {"torch", "xgboost", "lightgbm", "catboost", "jax", "tensorflow", "cupy"}
_TREE_PACKAGES = {"sklearn", "lightgbm", "xgboost", "catboost"}
_FEATURES_DIFFER = re.compile(
    r"mismatch|is expecting|expecting \d|should match|not the same as|but not in pool|should be feature|did not have",
    re.IGNORECASE,
)
_NO_SUCH_FILE = re.compile(r"no such file|could not open|file doesn't exist", re.IGNORECASE)
_MISSING_NAME_PATTERNS = (
    re.compile(r"^cannot import name '(?P<name>\w{1,100})' from '(?P<module>[\w.]{1,200})'"),
    re.compile(r"^(partially initialized )?module '(?P<module>[\w.]{1,200})' has no attribute '(?P<name>\w{1,100})'"),
    re.compile(r"^`(?P<module>np)\.(?P<name>\w{1,100})` was removed"),
)
_BY_NUMBER = {
    errno.EACCES: "read_only_file",
    errno.EPERM: "read_only_file",
    errno.EROFS: "read_only_file",
    errno.ENOSPC: "full_disk",
    errno.EDQUOT: "full_disk",
    errno.EFBIG: "full_disk",
    errno.EMFILE: "open_files",
    errno.EAGAIN: "too_many_processes",
}


class Raised:
    """An exception of the user's code.

    Attributes:
        error: the exception itself.
        text: its message.
        classes: full names of its class and all base classes.
        modules: names of the modules of the traceback's frames, innermost last.
        packages: the packages of its class and of the innermost frame.
    """

    def __init__(self, error: BaseException, text: str) -> None:
        self.error = error
        self.text = text
        self.classes = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]
        self.modules = list(_modules(error))
        self.packages = {name.partition(".")[0] for name in (self.classes[0], *self.modules[-1:])}


def cause_of(error: BaseException, code: str, text: str) -> Cause:
    """Return the cause and its facts for an exception with the message `text` and the failure code `code`."""
    finders = _FINDERS.get(code, ())
    try:
        raised = Raised(error, text)
        for find in finders:
            cause, facts = find(raised)
            if cause is not None:
                return cause, {name: str(value)[:_MAX_TEXT] for name, value in facts.items()}
    except BaseException:  # noqa: BLE001 (an exception of the model may raise in any of its methods)
        return _NO_CAUSE
    return _NO_CAUSE


def _modules(error: BaseException) -> Iterator[str]:
    frames = error.__traceback__
    for _ in range(_MAX_FRAMES):
        if frames is None:
            return
        yield str(frames.tb_frame.f_globals.get("__name__", ""))
        frames = frames.tb_next


# While unpickling


def _name_in_main(raised: Raised) -> Cause:
    missing = MISSING_NAME.match(raised.text) if isinstance(raised.error, AttributeError) else None
    return ("name_in_main", {"name": missing[1]}) if missing is not None and missing[2] in _SCRIPTS else _NO_CAUSE


def _gpu_tensor(raised: Raised) -> Cause:
    is_torch = any(module.partition(".")[0] == "torch" for module in raised.modules)
    return ("gpu_tensor", {}) if is_torch and _GPU.search(raised.text) else _NO_CAUSE


def _stored_outside(raised: Raised) -> Cause:
    is_outside = "_pickle.UnpicklingError" in raised.classes and "persistent" in raised.text
    return ("stored_outside", {}) if is_outside else _NO_CAUSE


# While predicting


def _by_class(raised: Raised) -> Cause:
    """Return the cause that the class of the exception implies."""
    if isinstance(raised.error, RecursionError):
        return "recursion", {}
    if isinstance(raised.error, NameError) and not isinstance(raised.error, UnboundLocalError):
        return "undefined_name", {"name": str(raised.error.name)}
    if "pandas.errors.IntCastingNaNError" in raised.classes:
        return "missing_to_integer", {}
    if "pandas.errors.InvalidIndexError" in raised.classes:
        return "duplicate_labels", {}
    return _NO_CAUSE


def _by_errno(raised: Raised) -> Cause:
    """Return the cause that an error of the operating system implies."""
    error = raised.error
    if isinstance(error, RuntimeError) and raised.text == "can't start new thread":
        return "too_many_processes", {}
    if not isinstance(error, OSError):
        is_library_error = bool(raised.packages & _TREE_PACKAGES) and _NO_SUCH_FILE.search(raised.text) is not None
        return ("missing_file", {}) if is_library_error else _NO_CAUSE
    if isinstance(error, FileNotFoundError):
        return "missing_program" if "subprocess" in raised.modules else "missing_file", {}
    return _BY_NUMBER.get(error.errno or 0), {}


def _column(raised: Raised) -> Cause:
    """Return the cause of a missing column, accessed as a key or as an attribute."""
    error = raised.error
    if isinstance(error, KeyError) and "pandas" in raised.packages:
        names = _labels(error.args[0] if error.args else None)
    elif isinstance(error, AttributeError) and type(error.obj).__name__ == "DataFrame":
        names = [name for name in (error.name,) if name is not None and name.startswith(("feature_", "target"))]
    elif any(name.endswith(".ColumnNotFoundError") for name in raised.classes):
        names = re.findall(r'"([^"]{1,200})"', raised.text)[:1] or [raised.text.partition("\n")[0]]
    else:
        return _NO_CAUSE
    if not names:
        return _NO_CAUSE
    name = next((name for name in names if name.startswith("feature_")), names[0])
    if name.startswith("feature_"):
        return "missing_feature", {"feature": name}
    if name.startswith("target"):
        return "target", {"column": name}
    return ("id_is_the_index", {}) if name == "id" else ("missing_column", {"column": name})


def _labels(key: Any) -> "list[str]":
    """Return the missing labels: the key itself, or those that pandas quotes in a message about several."""
    if not isinstance(key, str):
        return []
    return re.findall(r"'([^']{1,200})'", key) if key.startswith(("[", "None of [")) else [key]


def _removed(raised: Raised) -> Cause:
    """Return the cause of a name or an argument that the runtime's version of a library does not have."""
    error = raised.error
    if isinstance(error, TypeError):
        replacement = replacement_of_argument(raised.text)
        return _NO_CAUSE if replacement is None else _removed_api(*replacement)
    if isinstance(error, AttributeError) and error.name is not None and not isinstance(error.obj, ModuleType):
        kind = error.obj if isinstance(error.obj, type) else type(error.obj)
        return _removed_api(kind.__module__, f"{kind.__name__}.{error.name}", replacement_of_method(kind, error.name))
    # NumPy raises such errors without the attribute `name`.
    missing = next(
        (match for pattern in _MISSING_NAME_PATTERNS if (match := pattern.search(raised.text)) is not None), None
    )
    if missing is None or not isinstance(error, (AttributeError, ImportError)):
        return _NO_CAUSE
    module, name = missing["module"], missing["name"]
    module = "numpy" if module == "np" else module
    cause = _removed_api(module, f"{module}.{name}", MODULE_NAMES.get(module, {}).get(name))
    return cause if cause[0] is not None else _version_cause("missing_api", module, f"{module}.{name}")


def _removed_api(module: str, old: str, new: "str | None") -> Cause:
    return _NO_CAUSE if new is None else _version_cause("removed_api", module, old, new)


def _version_cause(cause: str, module: str, old: str, new: str = "") -> Cause:
    package = package_of(module)
    if package is None:
        return _NO_CAUSE
    facts = {"package": package[0], "version": package[1], "old": old}
    return cause, {**facts, "new": new} if new else facts


def _values(raised: Raised) -> Cause:
    """Return the cause of invalid arrays or tables that a library received."""
    text = raised.text
    if isinstance(raised.error, (ValueError, TypeError)) and "read-only" in text:
        return "read_only_array", {}
    if "pandas" in raised.packages and "duplicate" in text and "reindex" in text:
        return "duplicate_labels", {}
    if raised.packages & _GPU_PACKAGES and _GPU.search(text):
        return "gpu", {}
    if raised.packages & {*_TREE_PACKAGES, "predictd_trees"}:
        if "contains NaN" in text:
            return "missing_input", {}
        if "feature" in text.lower() and _FEATURES_DIFFER.search(text):
            return "feature_mismatch", {}
    return _NO_CAUSE


_FINDERS: "dict[str, tuple[Callable[[Raised], Cause], ...]]" = {
    "unpickle_error": (_name_in_main, _gpu_tensor, _stored_outside),
    "exception": (_by_class, _by_errno, _column, _removed, _values),
}
