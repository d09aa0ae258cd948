"""A pickle from the outside: made by `wrap`, inspected and checked by its bytes. Nothing here unpickles or runs one.

`portable` is what `wrap` puts into the file; it imports nothing of ours.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from predictd.pickles.checks import DataColumns, check_inspected, check_pickle
    from predictd.pickles.columns import read_columns
    from predictd.pickles.compatibility import certain_failures, choose_python, choose_target
    from predictd.pickles.findings import Finding, Level
    from predictd.pickles.inspection import Inspection, inspect_pickle
    from predictd.pickles.runtime_target import Target, find_target, known_targets, target_of_built, target_of_spec
    from predictd.pickles.wrapping import Wrapped, wrap

__all__ = [
    "DataColumns",
    "Finding",
    "Inspection",
    "Level",
    "Target",
    "Wrapped",
    "certain_failures",
    "check_inspected",
    "check_pickle",
    "choose_python",
    "choose_target",
    "find_target",
    "inspect_pickle",
    "known_targets",
    "read_columns",
    "target_of_built",
    "target_of_spec",
    "wrap",
]

_PLACES = {
    "checks": ("DataColumns", "check_inspected", "check_pickle"),
    "columns": ("read_columns",),
    "findings": ("Finding", "Level"),
    "compatibility": ("certain_failures", "choose_python", "choose_target"),
    "inspection": ("Inspection", "inspect_pickle"),
    "runtime_target": ("Target", "find_target", "known_targets", "target_of_built", "target_of_spec"),
    "wrapping": ("Wrapped", "wrap"),
}
_MODULE_OF = {name: module for module, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for: whoever wraps a model needs none of the checks, and the server no wrap."""
    if name in _MODULE_OF:
        return getattr(import_module(f"predictd.pickles.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
