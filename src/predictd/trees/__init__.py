"""Fast tree ensembles: compiled tables that replace the predict methods of libraries.

This package needs only the standard library and NumPy, and imports nothing else from predictd: in a sandbox it is
installed alone, as `predictd_trees`. It runs on Python 3.10 to 3.13.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from .errors import NativeError, TablesError, TreesError, UnsupportedModelError
from .native import available

if TYPE_CHECKING:
    from types import ModuleType

    from .compiled import Buffer
    from .store import Store

__all__ = [
    "NativeError",
    "TablesError",
    "TreesError",
    "UnsupportedModelError",
    "accelerate",
    "available",
    "export_tables",
    "install",
    "problems",
    "uninstall",
]

SWITCH = "PREDICTD_TREES"
# Library module -> the module here that patches it: `patch(module, store)` returns an object with `undo()` and, if
# models can be compiled before their first prediction, `prepare(model)`.
ADAPTERS = {
    "lightgbm": "lightgbm_trees",
    "xgboost": "xgboost_trees",
    "catboost": "catboost_trees",
    "sklearn.ensemble": "sklearn_trees",
}


class _Installed:
    """The patches of this process."""

    def __init__(self, stored: dict[bytes, Buffer] | None) -> None:
        from .import_hooks import ImportWatcher  # noqa: PLC0415
        from .store import Store  # noqa: PLC0415

        self.store: Store = Store(stored)
        self.patches: dict[str, Any] = {}
        self.imports = ImportWatcher(tuple(ADAPTERS), self.patch)

    def patch(self, module: ModuleType) -> None:
        """Patch a library. A library of an unknown version keeps its own methods."""
        name = module.__name__
        if name in self.patches:
            return
        try:
            adapter = importlib.import_module(f".{ADAPTERS[name]}", __name__)
            self.patches[name] = adapter.patch(module, self.store)
        except Exception as error:  # noqa: BLE001
            self.store.problems.append(f"{name} is not patched: {error!r}")


_installed: _Installed | None = None


def install(tables: Buffer | dict[bytes, Buffer] | None = None) -> bool:
    """Let LightGBM, XGBoost, CatBoost and scikit-learn predict with compiled trees in this process, whenever imported.

    `tables` come from an earlier process: the content of `export_tables()`, or its tables by fingerprint. They are not
    copied and must not change. Returns False and does nothing if PREDICTD_TREES=0 is set or the compiled library is
    missing (`available` returns the reason). Raises TablesError for content that is not a file of tables.
    """
    global _installed  # noqa: PLW0603
    if os.environ.get(SWITCH) == "0" or available() is not None:
        return False
    if tables is not None and not isinstance(tables, dict):
        from .compiled import unpack  # noqa: PLC0415

        tables = unpack(tables)
    if _installed is None:
        _installed = _Installed(tables)
        _installed.imports.start()
    elif tables:
        _installed.store.stored.update(tables)
    return True


def uninstall() -> None:
    """Restore the libraries' own methods."""
    global _installed  # noqa: PLW0603
    if _installed is not None:
        _installed.imports.stop()
        for patch in _installed.patches.values():
            patch.undo()
        _installed = None


def export_tables() -> bytes:
    """Return the tables used or built since `install`, as the content of a file; b"" if there are none."""
    return _installed.store.export_tables() if _installed is not None else b""


def problems() -> list[str]:
    """Return why stored or new tables were not used, or a library was not patched, since `install`."""
    return list(_installed.store.problems) if _installed is not None else []


def accelerate(model: Any) -> Any:
    """Compile a fitted model now and let its library predict with it; returns the same model.

    Supports models of LightGBM, XGBoost, CatBoost and scikit-learn's ensembles. For input other than whole numbers from
    -128 to 127 the library itself predicts. Raises UnsupportedModelError if the model cannot be compiled, and
    NativeError if the compiled library is missing.
    """
    reason = available()
    if reason is not None:
        raise NativeError(reason)
    if not install():
        raise UnsupportedModelError(f"compiled trees are turned off by {SWITCH}=0")
    roots = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
    name = next((name for name in ADAPTERS if name.partition(".")[0] in roots and name in sys.modules), None)
    patch = _installed.patches.get(name) if _installed is not None and name is not None else None
    if patch is None:
        raise UnsupportedModelError(f"{type(model).__name__} is not a tree model that can be compiled")
    prepare = getattr(patch, "prepare", None)
    if prepare is not None:
        prepare(model)
    return model
