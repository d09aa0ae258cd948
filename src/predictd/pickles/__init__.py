"""Inspect, check and wrap pickles. Nothing here unpickles or runs a pickle.

`portable` holds the classes that `wrap` puts into the file; it imports nothing from predictd.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from predictd.pickles.compatibility import certain_failures, choose_python, choose_target
    from predictd.pickles.data_columns import read_columns
    from predictd.pickles.formatting import Finding, Level
    from predictd.pickles.inspection import Inspection, inspect_pickle
    from predictd.pickles.runtime_target import Target, all_targets, find_target, target_of_built, target_of_spec
    from predictd.pickles.static_checks import DataColumns, check_inspected, check_pickle
    from predictd.pickles.wrapping import Wrapped, wrap

__all__ = [
    "DataColumns",
    "Finding",
    "Inspection",
    "Level",
    "Target",
    "Wrapped",
    "all_targets",
    "certain_failures",
    "check_inspected",
    "check_pickle",
    "choose_python",
    "choose_target",
    "find_target",
    "inspect_pickle",
    "read_columns",
    "target_of_built",
    "target_of_spec",
    "wrap",
]

_EXPORTS = {
    "static_checks": ("DataColumns", "check_inspected", "check_pickle"),
    "data_columns": ("read_columns",),
    "formatting": ("Finding", "Level"),
    "compatibility": ("certain_failures", "choose_python", "choose_target"),
    "inspection": ("Inspection", "inspect_pickle"),
    "runtime_target": ("Target", "find_target", "all_targets", "target_of_built", "target_of_spec"),
    "wrapping": ("Wrapped", "wrap"),
}
_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a name on first use: wrapping a model needs none of the checks, and the server does not need `wrap`."""
    if name in _MODULE_OF:
        return getattr(import_module(f"predictd.pickles.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
