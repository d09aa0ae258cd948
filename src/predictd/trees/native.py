"""Load the compiled library through ctypes."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

from .errors import NativeError

LIBRARY = "libpredictd_trees.so"
PATHS = ("portable", "avx2", "avx512")
PATH_VARIABLE = "PREDICTD_TREES_PATH"
LIBRARY_VARIABLE = "PREDICTD_TREES_LIBRARY"


class ForestArrays(ctypes.Structure):
    """A forest for the C compiler; addresses of contiguous arrays."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("features", "low", "high", "single", "outputs", "reserved")),
        *((name, ctypes.c_int64) for name in ("trees", "nodes", "leaves")),
        *(
            (name, ctypes.c_void_p)
            for name in ("roots", "outputs_of", "feature", "threshold", "left", "right", "values", "start")
        ),
    )


def _declare(library: ctypes.CDLL) -> None:
    number, long, address = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p
    pointer = ctypes.POINTER
    declarations = {
        "trees_compile": (address, pointer(ForestArrays), pointer(long), ctypes.c_char_p, long),
        "trees_free": (None, address),
        "trees_check": (ctypes.c_char_p, address, long),
        "trees_has": (number, number),
        "trees_evaluate": (number, address, number, address, long, long, long, address),
        "trees_convert": (number, number, number, address, long, long, long, long, number, number, address),
        "trees_within": (number, address, long, long, long, long, number, number),
        "trees_free_lightgbm": (None, address),
        "trees_read_lightgbm": (address, address, long, long, long, pointer(ForestArrays), ctypes.c_char_p, long),
        "trees_transform": (number, number, ctypes.c_double, address, long, long),
    }
    for name, (result, *arguments) in declarations.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments


@functools.lru_cache(maxsize=1)
def _load() -> ctypes.CDLL | str:
    path = Path(os.environ.get(LIBRARY_VARIABLE) or Path(__file__).with_name(LIBRARY))
    if not path.exists():
        return f"{path.name} was not built, because no C compiler was available when predictd was installed"
    try:
        library = ctypes.CDLL(str(path))
        _declare(library)
    except (OSError, AttributeError) as error:
        return f"{path} does not load: {error}"
    return library


def library() -> ctypes.CDLL:
    """Return the library. Raises NativeError if it is unavailable."""
    loaded = _load()
    if isinstance(loaded, str):
        raise NativeError(loaded)
    return loaded


def available() -> str | None:
    """Return None if trees can be evaluated here, else the reason."""
    loaded = _load()
    return loaded if isinstance(loaded, str) else None


def paths() -> list[str]:
    """Return the code paths that this machine supports, slowest first."""
    return [name for number, name in enumerate(PATHS) if library().trees_has(number)]


def path_number(name: str | None = None) -> int:
    """Return the number of the code path called `name`; by default PREDICTD_TREES_PATH, else the fastest.

    Raises NativeError for a path that this machine does not support.
    """
    name = name or os.environ.get(PATH_VARIABLE) or paths()[-1]
    if name not in paths():
        raise NativeError(f"this machine does not support the code path {name!r}, only {', '.join(paths())}")
    return PATHS.index(name)
