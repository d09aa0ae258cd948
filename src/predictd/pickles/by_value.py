"""Pickle a value together with the user's own modules that it refers to."""

import site
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from predictd.domain.errors import InvalidInputError
from predictd.pickles import portable
from predictd.pickles.inspection import Inspection, inspect_pickle

_MAX_ROUNDS = 20
_NEVER = {"__main__", "__mp_main__", "predictd", "cloudpickle"}


def dumps_by_value(value: Any) -> tuple[bytes, tuple[str, ...], Inspection]:
    """Return the pickle of a value, the modules that it contains by value, and its inspection.

    A module is the user's own if its file is neither the standard library's nor in a folder of installed packages.
    Pickles repeatedly until every such module is included.

    Raises:
        InvalidInputError: the value, or one of the user's modules, cannot be pickled.
    """
    carried: dict[str, ModuleType] = {}
    for _ in range(_MAX_ROUNDS):
        with _by_value([portable, *carried.values()]):
            content = _dumps(value)
        inspection = inspect_pickle(content)
        new = {name: module for name, module in _own_modules(inspection) if name not in carried}
        if not new:
            _refuse_late_imports(inspection)
            return content, tuple(sorted(carried)), inspection
        carried.update(new)
    raise InvalidInputError(f"Your modules refer to too many other modules: {', '.join(sorted(carried)[:10])} …")


def is_own(module: ModuleType) -> bool:
    """Return whether a module is the user's own: its file belongs to neither Python nor an installed package."""
    if module.__name__.partition(".")[0] in _NEVER:
        return False
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        return False
    path = Path(file).resolve()
    return not any(path.is_relative_to(folder) for folder in _installed())


def _installed() -> set[Path]:
    """Return the folders of the standard library and of installed packages."""
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += [*site.getsitepackages(), site.getusersitepackages()]
    folders += [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages", "lib-dynload")]
    return {Path(folder).resolve() for folder in folders}


def _own_modules(inspection: Inspection) -> Iterator[tuple[str, ModuleType]]:
    for imported in inspection.imports:
        module = sys.modules.get(imported.module)
        if not imported.at_load or module is None or not is_own(module):
            continue
        if not str(module.__file__).endswith((".py", ".pyc")):
            raise InvalidInputError(
                f"Your module {imported.module} is compiled ({module.__file__}), and a pickle can only contain Python "
                "code. Remove it from predict."
            )
        yield imported.module, module


def _refuse_late_imports(inspection: Inspection) -> None:
    """Raise if a function imports a module of the user when it is called, because no run has that module."""
    for imported in inspection.imports:
        module = sys.modules.get(imported.module) or sys.modules.get(imported.top)
        if not imported.at_load and not imported.guarded and module is not None and is_own(module):
            raise InvalidInputError(
                f"The function {imported.function} imports your module {imported.module} when it is called, but no "
                "run has it. Import it at the top of the file, so that the pickle contains it."
            )


@contextmanager
def _by_value(modules: list[ModuleType]) -> Iterator[None]:
    registered = cloudpickle.list_registry_pickle_by_value()
    new = [module for module in modules if module.__name__ not in registered]
    for module in new:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in new:
            cloudpickle.unregister_pickle_by_value(module)


def _dumps(value: Any) -> bytes:
    try:
        return bytes(cloudpickle.dumps(value))
    except Exception as error:
        raise InvalidInputError(
            f"The model can't be pickled: {type(error).__name__}: {error}. Remove files, locks, connections and "
            "generators from the objects that the model refers to."
        ) from error
