"""Tree ensembles evaluated at machine speed: compiled tables, and libraries' predict answered by them.

This package uses the standard library and NumPy alone and imports nothing else of predictd: in a sandbox it stands
alone, as `predictd_trees`. Python 3.10 to 3.13.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from .errors import NativeError, TablesError, TreesError, UnsupportedModel
from .native import available

if TYPE_CHECKING:
    from types import ModuleType

    from .compiled import Buffer
    from .store import Store

__all__ = [
    "NativeError",
    "TablesError",
    "TreesError",
    "UnsupportedModel",
    "accelerate",
    "available",
    "built",
    "install",
    "problems",
    "uninstall",
]

SWITCH = "PREDICTD_TREES"
# Each library's module to watch for, and ours that patches it: `patch(module, store)` returns what `undo()` takes back
# and, where models can be compiled before their first prediction, `prepare(model)` does.
ADAPTERS = {
    "lightgbm": "lightgbm_trees",
    "xgboost": "xgboost_trees",
    "catboost": "catboost_trees",
    "sklearn.ensemble": "sklearn_trees",
}


class _Installed:
    """What is patched in this process."""

    def __init__(self, kept: dict[bytes, Buffer] | None) -> None:
        from .import_hooks import Imports  # noqa: PLC0415
        from .store import Store  # noqa: PLC0415

        self.store: Store = Store(kept)
        self.patches: dict[str, Any] = {}
        self.imports = Imports(tuple(ADAPTERS), self.patch)

    def patch(self, module: ModuleType) -> None:
        """Patch a library. One of an unknown version stays as it is: it must work even where it can't be faster."""
        name = module.__name__
        if name in self.patches:
            return
        try:
            adapter = importlib.import_module(f".{ADAPTERS[name]}", __name__)
            self.patches[name] = adapter.patch(module, self.store)
        except Exception as error:  # noqa: BLE001
            self.store.problems.append(f"{name} is used as it is: {error!r}")


_installed: _Installed | None = None


def install(tables: Buffer | dict[bytes, Buffer] | None = None) -> bool:
    """Let LightGBM, XGBoost, CatBoost and scikit-learn answer by compiled trees in this process, whenever imported.

    `tables` are those kept from an earlier process: the content of `built()`, or its tables by fingerprint. They are
    not copied and must stay as they are. Returns False, and does nothing, where PREDICTD_TREES=0 says so or the
    compiled library is missing (`available` says why). Raises TablesError for content that is no file of tables.
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
        _installed.store.kept.update(tables)
    return True


def uninstall() -> None:
    """Put the libraries' own methods back."""
    global _installed  # noqa: PLW0603
    if _installed is not None:
        _installed.imports.stop()
        for patch in _installed.patches.values():
            patch.undo()
        _installed = None


def built() -> bytes:
    """The tables that were used or built since `install`, as the content of a file; b"" where there are none."""
    return _installed.store.built() if _installed is not None else b""


def problems() -> list[str]:
    """Return why kept or new tables were not used, or a library was not patched, since `install`."""
    return list(_installed.store.problems) if _installed is not None else []


def accelerate(model: Any) -> Any:
    """Compile a fitted model now and let its library answer by it; returns the same model.

    Takes models of LightGBM, XGBoost, CatBoost and scikit-learn's ensembles. Input that is not made of whole numbers
    from -128 to 127 is answered by the library itself, as before. Raises UnsupportedModel that says why this model
    can't be compiled, NativeError where the compiled library is missing.
    """
    reason = available()
    if reason is not None:
        raise NativeError(reason)
    if not install():
        raise UnsupportedModel(f"compiled trees are turned off by {SWITCH}=0")
    roots = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
    name = next((name for name in ADAPTERS if name.partition(".")[0] in roots and name in sys.modules), None)
    patch = _installed.patches.get(name) if _installed is not None and name is not None else None
    if patch is None:
        raise UnsupportedModel(f"{type(model).__name__} is not a model of trees that can be compiled")
    prepare = getattr(patch, "prepare", None)
    if prepare is not None:
        prepare(model)
    return model
