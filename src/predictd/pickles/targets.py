"""A runtime as a pickle sees it: its Python, what can be imported in it, and the versions of its packages."""

import re
import sys
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

from predictd.domain.errors import NotFoundError
from predictd.runtimes import PACKAGE_SETS, BuiltRuntime, RuntimeSpec

_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)
_INFO = re.compile(r"([A-Za-z0-9_.]+)-([^-]+)\.dist-info")

DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "PIL": "pillow",
    "dateutil": "python-dateutil",
    "yaml": "pyyaml",
    "cv2": "opencv-python",
    "mpl_toolkits": "matplotlib",
    "pylab": "matplotlib",
    "_plotly_utils": "plotly",
    "_polars_runtime_32": "polars-runtime-32",
    "fontTools": "fonttools",
    "tensorflow": "tensorflow-cpu",
    "google": "protobuf",
    "torchgen": "torch",
    "functorch": "torch",
    "pkg_resources": "setuptools",
    "_distutils_hack": "setuptools",
    "clang": "libclang",
    "dotenv": "python-dotenv",
    "grpc": "grpcio",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "jwt": "pyjwt",
    "OpenSSL": "pyopenssl",
    "faiss": "faiss-cpu",
}
"""Import name -> the package that it is installed by, where the names differ."""

_GONE = {
    (3, 12): {"distutils", "imp", "asyncore", "asynchat", "smtpd"},
    (3, 13): {
        "aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "lib2to3", "mailcap", "msilib", "nis", "nntplib",
        "ossaudiodev", "pipes", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib",
    },
}  # fmt: skip
_NEW = {(3, 11): {"tomllib"}}


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
        if self._is_standard(top) or not {distribution_of(top), _normal(top)}.isdisjoint(self.packages):
            return True
        if self.folder is None:
            return False if _could_not_hide(top) else None
        return _safe(top) in _names_in(self.folder)

    def has_submodule(self, module: str) -> bool | None:
        """Whether a module below the top is there; None where that can't be told."""
        top, _, rest = module.partition(".")
        if self.folder is None or not rest or self._is_standard(top):
            return None
        place = self.folder / _safe(top)
        for part in rest.split("."):
            if not place.is_dir():
                return None
            if _safe(part) not in _names_in(place):
                return False
            place = place / _safe(part)
        return True

    def version_of(self, package: str) -> str | None:
        """The version that it has of a package, None if it has none."""
        return self.packages.get(_normal(package))

    def _is_standard(self, top: str) -> bool:
        python = tuple(int(part) for part in self.python.split("."))
        gone = any(top in names and python >= since for since, names in _GONE.items())
        early = any(top in names and python < since for since, names in _NEW.items())
        known = top in sys.stdlib_module_names or any(top in names for names in _GONE.values())
        return known and not gone and not early


def distribution_of(top: str) -> str:
    """The package that a module is installed by: 'scikit-learn' for 'sklearn'."""
    return DISTRIBUTIONS.get(top, _normal(top))


def target_of_spec(spec: RuntimeSpec) -> Target:
    """A runtime by its lock."""
    return Target(
        name=spec.display_name,
        image=spec.image_name,
        tag=spec.tag,
        python=spec.python,
        packages={_normal(name): version for name, version in _PIN.findall(spec.lock)},
    )


def target_of_built(built: BuiltRuntime) -> Target:
    """A runtime by what lies in its folder."""
    found = (_INFO.fullmatch(one.name) for one in built.paths.packages.glob("*.dist-info"))
    return Target(
        name=built.display_name,
        image=built.image_name,
        tag=built.tag,
        python=built.paths.version,
        packages={_normal(one[1]): one[2] for one in found if one is not None},
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


@lru_cache(maxsize=1024)
def _names_in(folder: Path) -> frozenset[str]:
    """The names of the folders and files in a folder of a built runtime, which never changes, without their endings."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return frozenset(path.name.partition(".")[0] for path in paths if path.is_dir() or path.suffix)


def sets_with(package: str) -> list[str]:
    """The names of the package sets, of 'core' and 'full', whose newest runtime has a package."""
    return [name for name, packages in _packages_of_sets().items() if _normal(package) in packages]


@cache
def _packages_of_sets() -> dict[str, frozenset[str]]:
    newest = {name: list(specs.values())[-1] for name, specs in PACKAGE_SETS.items()}
    return {name: frozenset(target_of_spec(spec).packages) for name, spec in newest.items()}


def _could_not_hide(top: str) -> bool:
    """No package of a lock installs it under a name that is not known here; private names may be anybody's."""
    return not top.startswith("_")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _safe(name: str) -> str:
    """A module's name as a file's, never a pattern or a path."""
    return re.sub(r"\W", "_", name)
