"""Pickling with the modules of the user's own carried by value, whoever refers to them."""

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

_MOST_ROUNDS = 20
_NEVER = {"__main__", "__mp_main__", "predictd", "cloudpickle"}


def dumps_carrying(value: Any) -> tuple[bytes, tuple[str, ...], Inspection]:
    """The pickle of a value, the modules that it carries by value, and what is in it.

    A module is the user's own if its file is neither the standard library's nor in a folder of installed packages.
    Pickles as often as it takes to find them all.

    Raises:
        InvalidInputError: something in it can't be pickled, or an own module can't be carried; says which and why.
    """
    carried: dict[str, ModuleType] = {}
    for _ in range(_MOST_ROUNDS):
        with _by_value([portable, *carried.values()]):
            content = _dumps(value)
        inspection = inspect_pickle(content)
        new = {name: module for name, module in _own_modules(inspection) if name not in carried}
        if not new:
            _refuse_late_imports(inspection)
            return content, tuple(sorted(carried)), inspection
        carried.update(new)
    raise InvalidInputError(f"The modules of yours refer to more and more others: {', '.join(sorted(carried)[:10])} …")


def is_own(module: ModuleType) -> bool:
    """Whether a module is the user's own: it comes from a file that no package and no Python installed."""
    if module.__name__.partition(".")[0] in _NEVER:
        return False
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        return False
    path = Path(file).resolve()
    return not any(path.is_relative_to(folder) for folder in _installed())


def _installed() -> set[Path]:
    """The folders of the standard library and of installed packages."""
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += [*site.getsitepackages(), site.getusersitepackages()]
    folders += [one for one in sys.path if Path(one).name in ("site-packages", "dist-packages", "lib-dynload")]
    return {Path(one).resolve() for one in folders}


def _own_modules(inspection: Inspection) -> Iterator[tuple[str, ModuleType]]:
    for one in inspection.imports:
        module = sys.modules.get(one.module)
        if not one.at_load or module is None or not is_own(module):
            continue
        if not str(module.__file__).endswith((".py", ".pyc")):
            raise InvalidInputError(
                f"Your module {one.module} is compiled ({module.__file__}), and only code in Python can be carried in "
                "a pickle. Let predict do without it."
            )
        yield one.module, module


def _refuse_late_imports(inspection: Inspection) -> None:
    """An import in a function happens in the run, where the module is not."""
    for one in inspection.imports:
        module = sys.modules.get(one.module) or sys.modules.get(one.top)
        if not one.at_load and not one.guarded and module is not None and is_own(module):
            raise InvalidInputError(
                f"The function {one.function} imports your module {one.module} when it is called, and no run has it. "
                "Import it at the top of the file, so that it is carried along."
            )


@contextmanager
def _by_value(modules: list[ModuleType]) -> Iterator[None]:
    known = cloudpickle.list_registry_pickle_by_value()
    new = [module for module in modules if module.__name__ not in known]
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
            f"It can't be pickled: {type(error).__name__}: {error}. Keep files, locks, connections and generators "
            "out of what the model refers to."
        ) from error
