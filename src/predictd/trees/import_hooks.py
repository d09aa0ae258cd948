"""Patching libraries when they are imported, without importing any."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class Imports:
    """Calls `patch(module)` for each module of `names` once it is imported, and at once for those that are already."""

    def __init__(self, names: Sequence[str], patch: Callable[[ModuleType], None]) -> None:
        self._names = frozenset(names)
        self._patch = patch
        self._looking: set[str] = set()

    def start(self) -> None:
        """Begin to watch."""
        for name in sorted(self._names):
            module = sys.modules.get(name)
            if module is not None:
                self._patch(module)
        sys.meta_path.insert(0, self)

    def stop(self) -> None:
        """Watch no more; what was patched stays so."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The spec that others find, with a loader that patches the module after it has run."""
        if name not in self._names or name in self._looking:
            return None
        self._looking.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._looking.discard(name)
        loader = spec.loader if spec is not None else None
        if loader is None or not hasattr(loader, "exec_module"):
            return None
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            self._patch(module)

        loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
