"""Look up a runtime by any of its names."""

import re
from collections.abc import Callable
from pathlib import Path

from predictd.domain.errors import InvalidInputError, NotFoundError
from predictd.runtimes import PACKAGE_SETS, SPECS, BuiltRuntime, RuntimeSpec, build, default_spec, load, spec_for

_TAG = re.compile(r"[0-9a-f]{12}")


def choose_runtime(text: str | None, home: Path, show: Callable[[str], None]) -> BuiltRuntime:
    """Return the runtime with this name; build it in `home` if needed.

    Args:
        text: a Python version ('3.12', 'Python 3.12'), an image ('numerai_predict_py_3_12', also with a registry in
            front and a tag behind), a tag (12 hex digits), or the folder of a built runtime; None means the default.
        home: folder of the built runtimes.
        show: called with a line about the progress of a build.

    Raises:
        InvalidInputError: The folder is not a built runtime.
        NotFoundError: No runtime has this name.
        SetupError: It can't be built.
    """
    if text is None:
        return build(default_spec(), home, show)
    if Path(text).is_dir():
        return _runtime_in_folder(Path(text).absolute())
    image, _, tag = text.rpartition("/")[2].strip().lower().partition(":")
    name_or_tag = tag if _TAG.fullmatch(tag) else image
    for specs in PACKAGE_SETS.values():
        for spec in specs.values():
            if name_or_tag in _names(spec):
                return build(spec, home, show)
    return _find_built(text, home)


def choose_spec(text: str | None, packages: str | None, home: Path) -> RuntimeSpec:
    """Return the spec of the runtime with this name; build nothing.

    Args:
        text: as for `choose_runtime`.
        packages: package set of a runtime that is named by its Python version; None means 'core'.
        home: folder of the built runtimes, including custom ones.

    Raises:
        InvalidInputError: The folder is not a built runtime, or a package set was given in addition to one.
        NotFoundError: No runtime has this name.
    """
    if text is None:
        return spec_for(default_spec().python, packages or "core")
    name_or_tag = text.rpartition("/")[2].strip().lower()
    for name, specs in PACKAGE_SETS.items():
        for spec in specs.values():
            if name_or_tag.partition(":")[0] in _names(spec) or name_or_tag.partition(":")[2] == spec.tag:
                return spec_for(spec.python, packages) if packages and name == "core" else spec
    if packages is not None:
        raise InvalidInputError(f"{text} has its own packages; omit --packages.")
    return _spec_of_built(_find_built(text, home))


def _spec_of_built(built: BuiltRuntime) -> RuntimeSpec:
    plain = f"numerai_predict_py_{built.paths.version.replace('.', '_')}"
    packages = built.image_name.removeprefix(plain).lstrip("_") or "core"
    return RuntimeSpec(python=built.paths.version, packages=packages, lock=built.lock.read_text(encoding="utf-8"))


def _find_built(text: str, home: Path) -> BuiltRuntime:
    """Return the built runtime with this name."""
    if Path(text).is_dir():
        return _runtime_in_folder(Path(text).absolute())
    image, _, tag = text.rpartition("/")[2].strip().lower().partition(":")
    name_or_tag = tag if _TAG.fullmatch(tag) else image
    for built in load(home):
        if name_or_tag in (built.tag, built.folder.name, built.image_name, built.display_name.lower()):
            return built
    choices = ", ".join([*SPECS, *(runtime.folder.name for runtime in load(home))])
    raise NotFoundError(f"The runtime {text!r} does not exist. Choose one of: {choices}.")


def _runtime_in_folder(folder: Path) -> BuiltRuntime:
    for built in load(folder.parent):
        if built.folder == folder:
            return built
    raise InvalidInputError(f"{folder} is not a built runtime. Build one with --runtime and a Python version.")


def _names(spec: RuntimeSpec) -> set[str]:
    shown = spec.display_name.lower()
    version = shown.removeprefix("python ")
    return {shown, version, f"python{version}", f"py{version}", spec.image_name, spec.tag, spec.folder_name}
