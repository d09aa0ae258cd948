"""Patch libraries when they are imported, without importing them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class ImportWatcher:
    """Calls `patch(module)` for each module of `names` when it is imported, or immediately if it already is."""

    def __init__(self, names: Sequence[str], patch: Callable[[ModuleType], None]) -> None:
        self._names = frozenset(names)
        self._patch = patch
        self._in_progress: set[str] = set()

    def start(self) -> None:
        """Start watching imports."""
        for name in sorted(self._names):
            module = sys.modules.get(name)
            if module is not None:
                self._patch(module)
        sys.meta_path.insert(0, self)

    def stop(self) -> None:
        """Stop watching imports; patches stay."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the module's regular spec, with a loader that patches the module after running it."""
        if name not in self._names or name in self._in_progress:
            return None
        self._in_progress.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._in_progress.discard(name)
        loader = spec.loader if spec is not None else None
        if loader is None or not hasattr(loader, "exec_module"):
            return None
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            self._patch(module)

        loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
