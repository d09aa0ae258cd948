"""The versions of packages that a pickle was created with, as far as its bytes show, and those of this runtime.

A pickle has no list of packages. But some packages record their version: scikit-learn in the state of every
estimator, XGBoost and CatBoost in their binary models, LightGBM in the format of its text, and NumPy and pandas in the
names of modules that only some of their versions have.
"""

import importlib.util
import re
import sys
from types import TracebackType
from typing import Any

_SCANNED_BYTES = 1 << 16
_MAX_NAME = 100
_XGBOOST = re.compile(rb"version\[#L.{7}\x03i(.)i(.)i(.)", re.DOTALL)
_CATBOOST = re.compile(rb"CatBoost release (\d+\.\d+(?:\.\d+)?)")
_VERSION = re.compile(r"\d{1,4}\.\d{1,4}[0-9a-z.+-]{0,20}")
_LIGHTGBM = re.compile(r"tree\nversion=v(\d)\n")
# The format changes less often than the package: format 3 starts with LightGBM 2.3.
_LIGHTGBM_FORMATS = {"2": "2", "3": "3 or older", "4": "4"}
_PANDAS_MODULES = {
    "pandas.core.indexes.numeric": "1",
    "pandas.core.frame": "2 or older",
    "pandas.core.series": "2 or older",
    "pandas.arrays": "3",
}
# Import name -> distribution name, where they differ.
_DISTRIBUTION_NAMES = {"sklearn": "scikit-learn"}


class RecordedVersions:
    """The versions that a pickle's opcodes reveal, by distribution name."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self._previous: Any = None

    def scan(self, arg: Any) -> None:
        """Scan the argument of the next opcode, of any type."""
        if isinstance(arg, str):
            if self._previous == "_sklearn_version" and _VERSION.fullmatch(arg):
                self.versions.setdefault("scikit-learn", arg)
            elif arg.startswith("numpy._core"):
                self.versions.setdefault("numpy", "2")
            else:
                self._scan_text(arg)
            self._previous = arg
        elif isinstance(arg, (bytes, bytearray)):
            self._scan_bytes(arg)

    def _scan_text(self, arg: str) -> None:
        model = _LIGHTGBM.match(arg)
        if model is not None and model[1] in _LIGHTGBM_FORMATS:
            self.versions.setdefault("lightgbm", _LIGHTGBM_FORMATS[model[1]])
        # A name and its module are one argument in older protocols.
        pandas = _PANDAS_MODULES.get(arg[:_MAX_NAME].partition(" ")[0])
        if pandas is not None:
            self.versions["pandas"] = min(pandas, self.versions.get("pandas", pandas))

    def _scan_bytes(self, arg: "bytes | bytearray") -> None:
        for part in (arg[:_SCANNED_BYTES], arg[-_SCANNED_BYTES:]):
            xgboost = _XGBOOST.search(part)
            if xgboost is not None:
                self.versions.setdefault("xgboost", ".".join(str(number[0]) for number in xgboost.groups()))
            release = _CATBOOST.search(part)
            if release is not None:
                self.versions.setdefault("catboost", release[1].decode("ascii"))

    def differences(self) -> "dict[str, list[str]]":
        """Return package -> [recorded version, version of this runtime] where their releases differ."""
        differences: dict[str, list[str]] = {}
        for name, recorded in self.versions.items():
            installed_version = installed(name)
            if installed_version is not None and not is_same_release(recorded, installed_version):
                differences[name] = [recorded, installed_version]
        return differences


def installed(package: str) -> "str | None":
    """Return the version of an installed package, or None."""
    from importlib import metadata  # noqa: PLC0415 (slow to import, and most runs need no versions)

    try:
        return metadata.version(package)
    except Exception:  # noqa: BLE001 (a model may have replaced anything)
        return None


def package_of(module: str) -> "tuple[str, str] | None":
    """Return name and version of the installed package of a module, or None."""
    top = module.partition(".")[0]
    try:
        is_installed = top in sys.modules or importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return None
    name = _DISTRIBUTION_NAMES.get(top, top)
    version = installed(name) if is_installed else None
    return None if version is None else (name, version)


def packages_in(frames: "TracebackType | None") -> "dict[str, str]":
    """Return name and version of the packages of the innermost frames of a traceback, innermost last."""
    modules: list[str] = []
    while frames is not None:
        modules.append(str(frames.tb_frame.f_globals.get("__name__", "")))
        frames = frames.tb_next
    packages: dict[str, str] = {}
    for module in modules[-8:]:
        package = package_of(module) if "." in module else None
        if package is not None:
            packages[package[0]] = package[1]
    return packages


def is_same_release(recorded: str, installed_version: str) -> bool:
    """Return whether both are the same release: '1.9.1' and '1.9.3' are, '2' and '2 or older' match any 2.x."""
    parts = recorded.partition(" ")[0].split(".")[:2]
    return installed_version.split(".")[: len(parts)] == parts
