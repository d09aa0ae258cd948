"""A runtime as a pickle sees it: its Python, what can be imported in it, and the versions of its packages."""

import functools
import importlib.metadata
import re
from dataclasses import dataclass, field
from pathlib import Path

from predictd.domain.errors import NotFoundError
from predictd.runtimes import PACKAGE_SETS, BuiltRuntime, RuntimeSpec
from predictd.runtimes.modules import distribution_of, is_standard, normal_name, packages_in

_MODULE_FILES = {".py", ".so", ".pyd"}
_INFO = re.compile(r"([A-Za-z0-9_.]+)-([^-]+)\.dist-info")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A runtime that a pickle may be run in.

    Attributes:
        name: for people, for example 'Python 3.12'.
        image: name on the wire.
        tag: of its packages.
        python: 'major.minor'.
        packages: package -> version, as far as they are known.
        folder: its site-packages, where it is built on this machine.
        modules: the top names of all that can be imported beside the standard library, None where they are not listed.
        complete: whether `packages` are all that it has, and the modules of each are known by their names; else it
            may have any module.
    """

    name: str
    image: str
    tag: str
    python: str
    packages: dict[str, str] = field(repr=False)
    folder: Path | None = None
    modules: frozenset[str] | None = field(default=None, repr=False)
    complete: bool = True

    def has(self, module: str) -> bool | None:
        """Whether the top of a module can be imported; None where that can't be told."""
        top = module.partition(".")[0]
        if is_standard(top, self.python) or not {distribution_of(top), normal_name(top)}.isdisjoint(self.packages):
            return True
        if self.modules is not None:
            return top in self.modules
        return False if self.complete and _could_not_hide(top) else None

    def has_submodule(self, module: str) -> bool | None:
        """Whether a module below the top is there; None where that can't be told.

        It is told by the runtime's folder, else by the files of the same version of the package, if that is installed
        where this runs.
        """
        top, _, rest = module.partition(".")
        if not rest or is_standard(top, self.python):
            return True if is_standard(top, self.python) else None
        if self.folder is None:
            return self._has_file(module)
        place = self.folder / _safe(top)
        for part in rest.split("."):
            if not place.is_dir():
                return None
            if _safe(part) not in _names_in(place):
                return False
            place = place / _safe(part)
        return True

    def _has_file(self, module: str) -> bool | None:
        package = distribution_of(module.partition(".")[0])
        found = _modules_of(package)
        if found is None or found[0] != self.version_of(package):
            return None
        return module in found[1]

    def version_of(self, package: str) -> str | None:
        """The version that it has of a package, None if it has none or that is not known."""
        return self.packages.get(normal_name(package)) or None


@functools.lru_cache(maxsize=64)
def _modules_of(package: str) -> tuple[str, frozenset[str]] | None:
    """The version and the modules of a package that is installed here, None where they can't be told."""
    try:
        installed = importlib.metadata.distribution(package)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None
    files = installed.files
    if not files:
        return None
    modules = {(*file.parts[:-1], file.name.partition(".")[0]) for file in files if file.suffix in _MODULE_FILES}
    names = {".".join(parts[:-1] if parts[-1] == "__init__" else parts) for parts in modules}
    return installed.version, frozenset(names)


def target_of_spec(spec: RuntimeSpec) -> Target:
    """A runtime by its lock."""
    return Target(
        name=spec.display_name,
        image=spec.image_name,
        tag=spec.tag,
        python=spec.python,
        packages=packages_in(spec.lock),
    )


def target_of_built(built: BuiltRuntime) -> Target:
    """A runtime by what lies in its folder."""
    found = (_INFO.fullmatch(one.name) for one in built.paths.packages.glob("*.dist-info"))
    return Target(
        name=built.display_name,
        image=built.image_name,
        tag=built.tag,
        python=built.paths.version,
        packages={normal_name(one[1]): one[2] for one in found if one is not None},
        folder=built.paths.packages,
        modules=frozenset(
            one.name.partition(".")[0]
            for one in built.paths.packages.iterdir()
            if one.is_dir() or one.suffix in _MODULE_FILES
        ),
    )


def known_targets(built: "list[BuiltRuntime]") -> list[Target]:
    """Every runtime that there is: those that are built here, and the others by their locks; core before full."""
    here = {one.tag: target_of_built(one) for one in built}
    specs = [spec for specs in PACKAGE_SETS.values() for spec in specs.values()]
    known = [here.pop(spec.tag) if spec.tag in here else target_of_spec(spec) for spec in specs]
    return [*known, *here.values()]


def find_target(text: str, targets: list[Target]) -> Target:
    """The runtime that a text names: '3.12', 'Python 3.12 (full)', an image, also with a registry and a tag, a tag.

    The folder of a built runtime names it too.

    Raises:
        NotFoundError: there is none of that name; says which there are.
    """
    image, _, tag = text.rpartition("/")[2].strip().lower().partition(":")
    folder = Path(text).absolute()
    for one in targets:
        shown = one.name.lower()
        if one.folder is not None and folder.is_dir() and one.folder.is_relative_to(folder):
            return one
        if {image, tag} & {shown, shown.removeprefix("python "), one.image, one.tag}:
            return one
    raise NotFoundError(f"There is no runtime {text!r}. Choose one of: {', '.join(one.name for one in targets)}.")


@functools.lru_cache(maxsize=1024)
def _names_in(folder: Path) -> frozenset[str]:
    """The names of the folders and files in a folder of a built runtime, which never changes, without their endings."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return frozenset(path.name.partition(".")[0] for path in paths if path.is_dir() or path.suffix)


def _could_not_hide(top: str) -> bool:
    """No package of a lock installs it under a name that is not known here; private names may be anybody's."""
    return not top.startswith("_")


def _safe(name: str) -> str:
    """A module's name as a file's, never a pattern or a path."""
    return re.sub(r"\W", "_", name)
