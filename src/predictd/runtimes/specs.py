"""Runtime specifications: a Python and a locked set of packages."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from predictd.domain.errors import NotFoundError, SetupError
from predictd.runtimes.interpreters import fetch, find_interpreters

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
PREFERRED_PYTHON = "3.12"


@dataclass(frozen=True, kw_only=True)
class RuntimeSpec:
    """A runtime that can run models.

    Attributes:
        python: Python version as 'major.minor', for example '3.12'.
        packages: name of the package set: 'core', 'full' or a custom name.
        lock: text of the lock file: every package with version and hashes.
        imports: modules that must be importable in the built runtime.
    """

    python: str
    packages: str
    lock: str = field(repr=False)
    imports: tuple[str, ...] = ()

    @property
    def lock_hash(self) -> str:
        """SHA-256, in hex, of the Python version and the lock: equal hashes are equal runtimes."""
        return hashlib.sha256(f"python {self.python}\n{self.lock}".encode()).hexdigest()

    @property
    def tag(self) -> str:
        """Short form of the content hash: 12 hex digits."""
        return self.lock_hash[:12]

    @property
    def image_name(self) -> str:
        """Name on the wire, for example 'numerai_predict_py_3_12'."""
        suffix = "" if self.packages == "core" else f"_{self.packages}"
        return f"numerai_predict_py_{self.python.replace('.', '_')}{suffix}"

    @property
    def display_name(self) -> str:
        """Name shown to people, for example 'Python 3.12'."""
        return f"Python {self.python}" if self.packages == "core" else f"Python {self.python} ({self.packages})"

    @property
    def folder_name(self) -> str:
        """Name of its folder in the home of the runtimes."""
        return f"{self.image_name}-{self.tag}"


RUNNER_NEEDS = ("numpy", "pandas", "pyarrow", "cloudpickle")
"""Packages that every run needs."""

RUNNER_IMPORTS = ("numpy", "pandas", "pyarrow.parquet", "cloudpickle")

CORE_IMPORTS = (
    *RUNNER_IMPORTS,
    "scipy.stats",
    "sklearn.ensemble",
    "lightgbm",
    "xgboost",
    "catboost",
    "polars",
    "statsmodels.api",
    "joblib",
    "numerai_tools.scoring",
    "numerai_tools.submissions",
)

FULL_IMPORTS = (
    *CORE_IMPORTS,
    "torch",
    "onnxruntime",
    "tensorflow",
    "keras",
    "jax",
    "numba",
    "treelite",
    "skorch",
    "tabpfn",
)


def _locked(packages: str, imports: tuple[str, ...]) -> dict[str, RuntimeSpec]:
    locks = resources.files("predictd.runtimes") / "locks"
    texts = {python: locks / f"{packages}-py{python.replace('.', '')}.txt" for python in PYTHONS}
    return {
        python: RuntimeSpec(python=python, packages=packages, lock=lock.read_text(encoding="utf-8"), imports=imports)
        for python, lock in texts.items()
    }


SPECS: dict[str, RuntimeSpec] = _locked("core", CORE_IMPORTS)
"""The core runtimes by their Python version, oldest first."""

FULL_SPECS: dict[str, RuntimeSpec] = _locked("full", FULL_IMPORTS)
"""The full runtimes by their Python version, oldest first: core and deep learning packages, about 7 GB each."""

PACKAGE_SETS = {"core": SPECS, "full": FULL_SPECS}


def spec_for(python: str, packages: str = "core") -> RuntimeSpec:
    """Return the known runtime of a Python version and package set. Raises NotFoundError."""
    if packages not in PACKAGE_SETS:
        raise NotFoundError(f"Package set {packages!r} does not exist. Choose one of {', '.join(PACKAGE_SETS)}.")
    if python not in PACKAGE_SETS[packages]:
        raise NotFoundError(f"No runtime has Python {python!r}. Choose one of {', '.join(PYTHONS)}.")
    return PACKAGE_SETS[packages][python]


def default_spec(
    find: Callable[[], dict[str, Path]] = find_interpreters, fetch: Callable[[str], Path | None] = fetch
) -> RuntimeSpec:
    """Return the runtime for models that choose none: Python 3.12, or the newest that this machine has.

    Raises:
        SetupError: this machine has no Python of a known runtime and cannot download it.
    """
    interpreters = find()
    if PREFERRED_PYTHON in interpreters:
        return SPECS[PREFERRED_PYTHON]
    if fetch(PREFERRED_PYTHON) is not None:
        return SPECS[PREFERRED_PYTHON]
    for python in reversed(PYTHONS):
        if python in interpreters:
            return SPECS[python]
    raise SetupError(
        f"No Python {PYTHONS[0]} to {PYTHONS[-1]} is on PATH, in pyenv, in uv's folder, /usr/bin or "
        "/usr/local/bin, and none could be downloaded. Install one (for example `apt-get install python3`)."
    )
