"""Which runtime is meant, by any of its names."""

import re
from collections.abc import Callable
from pathlib import Path

from predictd.domain.errors import InvalidInputError, NotFoundError
from predictd.runtimes import PACKAGE_SETS, SPECS, BuiltRuntime, RuntimeSpec, build, default_spec, load, spec_for

_TAG = re.compile(r"[0-9a-f]{12}")


def choose_runtime(text: str | None, home: Path, say: Callable[[str], None]) -> BuiltRuntime:
    """The runtime that the text names, built into `home` if it is not.

    Args:
        text: a Python version ('3.12', 'Python 3.12'), an image ('numerai_predict_py_3_12', also with a registry in
            front and a tag behind), a tag (12 hex digits), or the folder of a built runtime; None means the usual one.
        home: folder of the built runtimes.
        say: is told in a line what goes on while one is built.

    Raises:
        InvalidInputError: the folder is no built runtime.
        NotFoundError: no runtime has that name.
        SetupError: it can't be built.
    """
    if text is None:
        return build(default_spec(), home, say)
    if Path(text).is_dir():
        return _in_folder(Path(text).absolute())
    image, _, tag = text.rpartition("/")[2].strip().lower().partition(":")
    wanted = tag if _TAG.fullmatch(tag) else image
    for specs in PACKAGE_SETS.values():
        for spec in specs.values():
            if wanted in _names(spec):
                return build(spec, home, say)
    return _built(text, home)


def choose_spec(text: str | None, packages: str | None, home: Path) -> RuntimeSpec:
    """What the runtime that the text names consists of; nothing is built.

    Args:
        text: as for `choose_runtime`.
        packages: the package set of a runtime that is named by its Python; None means 'core'.
        home: folder of the built runtimes, among them those of own packages.

    Raises:
        InvalidInputError: the folder is no built runtime, or a package set was named beside one.
        NotFoundError: no runtime has that name.
    """
    if text is None:
        return spec_for(default_spec().python, packages or "core")
    wanted = text.rpartition("/")[2].strip().lower()
    for name, specs in PACKAGE_SETS.items():
        for spec in specs.values():
            if wanted.partition(":")[0] in _names(spec) or wanted.partition(":")[2] == spec.tag:
                return spec_for(spec.python, packages) if packages and name == "core" else spec
    if packages is not None:
        raise InvalidInputError(f"{text} has packages of its own; leave out --packages.")
    return _spec_of(_built(text, home))


def _spec_of(built: BuiltRuntime) -> RuntimeSpec:
    plain = f"numerai_predict_py_{built.paths.version.replace('.', '_')}"
    packages = built.image_name.removeprefix(plain).lstrip("_") or "core"
    return RuntimeSpec(python=built.paths.version, packages=packages, lock=built.lock.read_text(encoding="utf-8"))


def _built(text: str, home: Path) -> BuiltRuntime:
    """The built runtime that the text names."""
    if Path(text).is_dir():
        return _in_folder(Path(text).absolute())
    image, _, tag = text.rpartition("/")[2].strip().lower().partition(":")
    wanted = tag if _TAG.fullmatch(tag) else image
    for built in load(home):
        if wanted in (built.tag, built.folder.name, built.image_name, built.display_name.lower()):
            return built
    choices = ", ".join([*SPECS, *(one.folder.name for one in load(home))])
    raise NotFoundError(f"There is no runtime {text!r}. Choose one of: {choices}.")


def _in_folder(folder: Path) -> BuiltRuntime:
    for built in load(folder.parent):
        if built.folder == folder:
            return built
    raise InvalidInputError(f"{folder} is no built runtime; build one with --runtime and a Python's version.")


def _names(spec: RuntimeSpec) -> set[str]:
    shown = spec.display_name.lower()
    version = shown.removeprefix("python ")
    return {shown, version, f"python{version}", f"py{version}", spec.image_name, spec.tag, spec.folder_name}
