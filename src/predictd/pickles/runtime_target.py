"""A runtime as a pickle sees it: its Python, its importable modules and its package versions."""

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
    """A runtime that may run a pickle.

    Attributes:
        name: for people, for example 'Python 3.12'.
        image: name on the wire.
        tag: of its packages.
        python: 'major.minor'.
        packages: package -> version, as far as known.
        folder: its site-packages, if it is built on this machine.
        modules: the top-level names of everything importable besides the standard library, or None if unlisted.
        complete: whether `packages` lists all its packages and their modules follow from the names; otherwise it may
            have any module.
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
        """Return whether the top-level package of a module can be imported, or None if unknown."""
        top = module.partition(".")[0]
        if is_standard(top, self.python) or not {distribution_of(top), normal_name(top)}.isdisjoint(self.packages):
            return True
        if self.modules is not None:
            return top in self.modules
        return False if self.complete and _is_public(top) else None

    def has_submodule(self, module: str) -> bool | None:
        """Return whether a submodule exists, or None if unknown.

        Looks into the runtime's folder, else into the files of the same version of the package if it is installed here.
        """
        top, _, rest = module.partition(".")
        if not rest or is_standard(top, self.python):
            return True if is_standard(top, self.python) else None
        if self.folder is None:
            return self._has_file(module)
        folder = self.folder / _safe(top)
        for part in rest.split("."):
            if not folder.is_dir():
                return None
            if _safe(part) not in _names_in(folder):
                return False
            folder = folder / _safe(part)
        return True

    def _has_file(self, module: str) -> bool | None:
        package = distribution_of(module.partition(".")[0])
        installed = _modules_of(package)
        if installed is None or installed[0] != self.version_of(package):
            return None
        return module in installed[1]

    def version_of(self, package: str) -> str | None:
        """Return the version of a package, or None if it is missing or unknown."""
        return self.packages.get(normal_name(package)) or None


@functools.lru_cache(maxsize=64)
def _modules_of(package: str) -> tuple[str, frozenset[str]] | None:
    """Return the version and the modules of a package that is installed here, or None if unknown."""
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
    """Return a runtime as described by its lock."""
    return Target(
        name=spec.display_name,
        image=spec.image_name,
        tag=spec.tag,
        python=spec.python,
        packages=packages_in(spec.lock),
    )


def target_of_built(built: BuiltRuntime) -> Target:
    """Return a runtime as described by the contents of its folder."""
    matches = (_INFO.fullmatch(folder.name) for folder in built.paths.packages.glob("*.dist-info"))
    return Target(
        name=built.display_name,
        image=built.image_name,
        tag=built.tag,
        python=built.paths.version,
        packages={normal_name(match[1]): match[2] for match in matches if match is not None},
        folder=built.paths.packages,
        modules=frozenset(
            path.name.partition(".")[0]
            for path in built.paths.packages.iterdir()
            if path.is_dir() or path.suffix in _MODULE_FILES
        ),
    )


def all_targets(built: "list[BuiltRuntime]") -> list[Target]:
    """Return every runtime: built ones by their folders, the rest by their locks; core before full."""
    built_targets = {runtime.tag: target_of_built(runtime) for runtime in built}
    specs = [spec for specs in PACKAGE_SETS.values() for spec in specs.values()]
    targets = [built_targets.pop(spec.tag) if spec.tag in built_targets else target_of_spec(spec) for spec in specs]
    return [*targets, *built_targets.values()]


def find_target(name: str, targets: list[Target]) -> Target:
    """Return the runtime that a name denotes: '3.12', 'Python 3.12 (full)', an image with or without registry and tag,
    or a tag.

    The folder of a built runtime works too.

    Raises:
        NotFoundError: no runtime has that name.
    """
    image, _, tag = name.rpartition("/")[2].strip().lower().partition(":")
    folder = Path(name).absolute()
    for target in targets:
        display_name = target.name.lower()
        if target.folder is not None and folder.is_dir() and target.folder.is_relative_to(folder):
            return target
        if {image, tag} & {display_name, display_name.removeprefix("python "), target.image, target.tag}:
            return target
    raise NotFoundError(
        f"Runtime {name!r} does not exist. Choose one of: {', '.join(target.name for target in targets)}."
    )


@functools.lru_cache(maxsize=1024)
def _names_in(folder: Path) -> frozenset[str]:
    """Return the names, without suffixes, of the folders and files in a folder of a built runtime, which never
    changes.
    """
    paths = folder.iterdir() if folder.is_dir() else ()
    return frozenset(path.name.partition(".")[0] for path in paths if path.is_dir() or path.suffix)


def _is_public(top: str) -> bool:
    """Return whether no package of a lock installs it under an unexpected name, as is possible for private names."""
    return not top.startswith("_")


def _safe(name: str) -> str:
    """Return a module's name as a file name, never a pattern or a path."""
    return re.sub(r"\W", "_", name)
