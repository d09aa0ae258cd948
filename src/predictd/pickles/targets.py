"""A runtime as a pickle sees it: its Python, what can be imported in it, and the versions of its packages."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from predictd.domain.errors import NotFoundError
from predictd.runtimes import PACKAGE_SETS, BuiltRuntime, RuntimeSpec
from predictd.runtimes.modules import distribution_of, is_standard, normal_name, packages_in

_INFO = re.compile(r"([A-Za-z0-9_.]+)-([^-]+)\.dist-info")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A runtime that a pickle may be run in.

    Attributes:
        name: for people, for example 'Python 3.12'.
        image: name on the wire.
        tag: of its packages.
        python: 'major.minor'.
        packages: package -> version.
        folder: its site-packages, where it is built on this machine; only then it is known to lack a module.
    """

    name: str
    image: str
    tag: str
    python: str
    packages: dict[str, str] = field(repr=False)
    folder: Path | None = None

    def has(self, module: str) -> bool | None:
        """Whether the top of a module can be imported; None where that can't be told."""
        top = module.partition(".")[0]
        if is_standard(top, self.python) or not {distribution_of(top), normal_name(top)}.isdisjoint(self.packages):
            return True
        if self.folder is None:
            return False if _could_not_hide(top) else None
        return any(True for _ in self.folder.glob(f"{_safe(top)}.*")) or (self.folder / _safe(top)).is_dir()

    def has_submodule(self, module: str) -> bool | None:
        """Whether a module below the top is there; None where that can't be told."""
        top, _, rest = module.partition(".")
        if self.folder is None or not rest or is_standard(top, self.python):
            return None
        place = self.folder / _safe(top)
        for part in rest.split("."):
            if not place.is_dir():
                return None
            if not (place / _safe(part)).is_dir() and not any(True for _ in place.glob(f"{_safe(part)}.*")):
                return False
            place = place / _safe(part)
        return True

    def version_of(self, package: str) -> str | None:
        """The version that it has of a package, None if it has none."""
        return self.packages.get(normal_name(package))


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


def _could_not_hide(top: str) -> bool:
    """No package of a lock installs it under a name that is not known here; private names may be anybody's."""
    return not top.startswith("_")


def _safe(name: str) -> str:
    """A module's name as a file's, never a pattern or a path."""
    return re.sub(r"\W", "_", name)
