"""Which versions of packages made a pickle, as far as its bytes say, and which ones this runtime has.

A pickle keeps no list of packages. Some leave their version all the same: scikit-learn in the state of every
estimator, XGBoost and CatBoost in their binary models, LightGBM in the format of its text, and NumPy and pandas in the
names of modules that only some of their versions have.
"""

import importlib.util
import re
import sys
from types import TracebackType
from typing import Any

_FEW_BYTES = 1 << 16
_MOST_NAME = 100
_XGBOOST = re.compile(rb"version\[#L.{7}\x03i(.)i(.)i(.)", re.DOTALL)
_CATBOOST = re.compile(rb"CatBoost release (\d+\.\d+(?:\.\d+)?)")
_VERSION = re.compile(r"\d{1,4}\.\d{1,4}[0-9a-z.+-]{0,20}")
_LIGHTGBM = re.compile(r"tree\nversion=v(\d)\n")
# The format has changed less often than the package: the third begins with LightGBM 2.3.
_LIGHTGBM_FORMATS = {"2": "2", "3": "3 or older", "4": "4"}
_PANDAS_MODULES = {
    "pandas.core.indexes.numeric": "1",
    "pandas.core.frame": "2 or older",
    "pandas.core.series": "2 or older",
    "pandas.arrays": "3",
}
# Where the name to install is not the name to import.
_INSTALLED_AS = {"sklearn": "scikit-learn"}


class Recorded:
    """The versions that a pickle's opcodes give away, by the package's name as it is installed."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self._before: Any = None

    def see(self, arg: Any) -> None:
        """Take in the next opcode's argument, of any type."""
        if isinstance(arg, str):
            if self._before == "_sklearn_version" and _VERSION.fullmatch(arg):
                self.versions.setdefault("scikit-learn", arg)
            elif arg.startswith("numpy._core"):
                self.versions.setdefault("numpy", "2")
            else:
                self._see_text(arg)
            self._before = arg
        elif isinstance(arg, (bytes, bytearray)):
            self._see_bytes(arg)

    def _see_text(self, arg: str) -> None:
        model = _LIGHTGBM.match(arg)
        if model is not None and model[1] in _LIGHTGBM_FORMATS:
            self.versions.setdefault("lightgbm", _LIGHTGBM_FORMATS[model[1]])
        # A name and its module are one argument in the older protocols.
        pandas = _PANDAS_MODULES.get(arg[:_MOST_NAME].partition(" ")[0])
        if pandas is not None:
            self.versions["pandas"] = min(pandas, self.versions.get("pandas", pandas))

    def _see_bytes(self, arg: "bytes | bytearray") -> None:
        for part in (arg[:_FEW_BYTES], arg[-_FEW_BYTES:]):
            found = _XGBOOST.search(part)
            if found is not None:
                self.versions.setdefault("xgboost", ".".join(str(number[0]) for number in found.groups()))
            release = _CATBOOST.search(part)
            if release is not None:
                self.versions.setdefault("catboost", release[1].decode("ascii"))

    def differing(self) -> "dict[str, list[str]]":
        """Package -> [version that the pickle records, version of this runtime] where their releases differ."""
        found: dict[str, list[str]] = {}
        for name, recorded in self.versions.items():
            here = installed(name)
            if here is not None and not is_same_release(recorded, here):
                found[name] = [recorded, here]
        return found


def installed(package: str) -> "str | None":
    """The version of an installed package, None if there is none."""
    from importlib import metadata  # noqa: PLC0415 (takes a moment, and most runs need no versions)

    try:
        return metadata.version(package)
    except Exception:  # noqa: BLE001 (a model may have replaced anything by now)
        return None


def package_of(module: str) -> "tuple[str, str] | None":
    """Name and version of the installed package that a module name belongs to, None if it belongs to none."""
    top = module.partition(".")[0]
    try:
        known = top in sys.modules or importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return None
    name = _INSTALLED_AS.get(top, top)
    version = installed(name) if known else None
    return None if version is None else (name, version)


def packages_in(frames: "TracebackType | None") -> "dict[str, str]":
    """Name and version of the packages whose code the innermost frames of a traceback run, innermost last."""
    modules: list[str] = []
    while frames is not None:
        modules.append(str(frames.tb_frame.f_globals.get("__name__", "")))
        frames = frames.tb_next
    found: dict[str, str] = {}
    for module in modules[-8:]:
        package = package_of(module) if "." in module else None
        if package is not None:
            found[package[0]] = package[1]
    return found


def is_same_release(recorded: str, here: str) -> bool:
    """'1.9.1' and '1.9.3' are one release, '2' and '2 or older' are any 2.x."""
    parts = recorded.partition(" ")[0].split(".")[:2]
    return here.split(".")[: len(parts)] == parts
