"""Replace methods of libraries, so that they predict with compiled trees if the result is the same, and restore
them.
"""

from __future__ import annotations

import functools
import inspect
import sys
import weakref
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .errors import UnsupportedModelError
from .forest import HIGHEST, LOWEST
from .matrix import small_integers

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy
    from numpy.typing import NDArray

    from .forest import Forest
    from .store import Store

T = TypeVar("T")
_UNEXPECTED = (AttributeError, TypeError, ValueError, LookupError)
HEAD_ROWS = 2
# The flags of an array: C order, Fortran order, aligned, writeable.
_LAYOUT = 0x1 | 0x2 | 0x100 | 0x400
MAX_PARTS = 4
"""The number of parts of a model's trees that are compiled; for further parts the library itself predicts."""


def head_of(data: Any) -> Any:
    """Return the first rows of a DataFrame or of an array."""
    return getattr(data, "iloc", data)[:HEAD_ROWS]


class PatchedMethods:
    """The replaced methods of one library."""

    def __init__(self, store: Store) -> None:
        self._compiled = store
        self._originals: list[tuple[type, str, Any]] = []

    def intercept(
        self,
        owner: type,
        name: str,
        free: tuple[str, ...],
        replacement: Callable[..., Any],
        *,
        head: Callable[[Any], Any] = head_of,
        shorten: Callable[[Any], Any] | None = None,
        tolerance: float = 0.0,
    ) -> None:
        """Try `replacement(self, **arguments in free)` first; if it returns None, call the original method.

        `replacement` is skipped if an argument that is not in `free` differs from its default. The original method is
        also called if `replacement` raises an unexpected error, as in a version of the library with other attributes.

        The first result of new tables for each object and set of options is compared with the result of the method for
        `head` of the data, the first argument in `free`. If `shorten` returns a smaller copy of the object, which the
        library loads faster, the copy is compared instead. If the method raises, or if dtype, layout or values differ
        (values by more than the relative `tolerance`), the tables are rejected.
        """
        store = self._compiled
        confirmed: WeakCache[set[tuple[bytes, str]]] = WeakCache()
        original = owner.__dict__[name]
        signature = inspect.signature(original)
        defaults = {key: parameter.default for key, parameter in signature.parameters.items()}

        @functools.wraps(original)
        def intercepted(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                bound = signature.bind(self, *args, **kwargs)
            except TypeError:
                return original(self, *args, **kwargs)
            bound.apply_defaults()
            _, *values = bound.arguments.items()
            result = None
            if all(key in free or _equals_default(value, defaults[key]) for key, value in values):
                store.last_fingerprint = None
                try:
                    result = replacement(self, **{key: value for key, value in values if key in free})
                except _UNEXPECTED:
                    result = None
            fingerprint = store.last_fingerprint
            if result is not None and fingerprint is not None and store.is_new(fingerprint):
                call = fingerprint, repr([value for key, value in values if key in free[1:]])
                calls = confirmed.get(self) or confirmed.put(self, set())
                if call not in calls:
                    bound.arguments[free[0]] = head(bound.arguments[free[0]])
                    compared = result
                    if shorten is not None:
                        arguments = {key: value for key, value in bound.arguments.items() if key in free}
                        short, short_result = _predict_short(store, self, shorten, replacement, arguments)
                        if short_result is not None:
                            compared, bound.arguments[next(iter(bound.arguments))] = short_result, short
                    problem = _difference(compared, lambda: original(*bound.args, **bound.kwargs), tolerance)
                    if problem is None:
                        calls.add(call)
                    else:
                        store.reject(fingerprint, f"{owner.__name__}.{name}: {problem}")
                        result = None
            return original(self, *args, **kwargs) if result is None else result

        self._set(owner, name, intercepted)

    def around(
        self, owner: type, name: str, *, after: Callable[[Any], None], before: Callable[[Any], None] | None = None
    ) -> None:
        """Call `before(self)` before each call of the method and `after(self)` after it, even if it raises."""
        original = owner.__dict__[name]

        @functools.wraps(original)
        def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            if before is not None:
                before(self)
            try:
                return original(self, *args, **kwargs)
            finally:
                after(self)

        self._set(owner, name, wrapped)

    def undo(self) -> None:
        """Restore the original methods."""
        while self._originals:
            owner, name, original = self._originals.pop()
            setattr(owner, name, original)

    def _set(self, owner: type, name: str, method: Any) -> None:
        self._originals.append((owner, name, owner.__dict__[name]))
        setattr(owner, name, method)


def _predict_short(
    store: Store,
    model: Any,
    shorten: Callable[[Any], Any],
    replacement: Callable[..., Any],
    arguments: dict[str, Any],
) -> tuple[Any, Any]:
    """Return a smaller copy of the model and its result, None if there is none; its tables are not stored."""
    store.last_fingerprint = None
    try:
        short = shorten(model)
        result = None if short is None else replacement(short, **arguments)
    except _UNEXPECTED:
        return None, None
    finally:
        if store.last_fingerprint is not None:
            store.forget(store.last_fingerprint)
    return short, result


def _equals_default(value: Any, default: Any) -> bool:
    """Return whether an argument equals its default; NaN equals NaN."""
    if isinstance(value, float) and isinstance(default, float):
        return value == default or (value != value and default != default)  # noqa: PLR0124
    return value is default or (type(value) is type(default) and bool(value == default))


def _difference(result: Any, call_library: Callable[[], Any], tolerance: float) -> str | None:
    """Describe how the library's result for the first rows differs from `result`, or return None."""
    import numpy as np  # noqa: PLC0415

    try:
        expected = call_library()
    except Exception as error:  # noqa: BLE001 (the whole call raises it again)
        return f"the library raises {type(error).__name__}"
    if type(result) is not type(expected):
        return f"the library returns {type(expected).__name__}, not {type(result).__name__}"
    layout, expected_layout = (
        (array.dtype, array.shape[1:], array.flags.num & _LAYOUT) for array in (result, expected)
    )
    if layout != expected_layout:
        return f"the library returns {expected_layout}, not {layout} (dtype, columns, layout)"
    first = result[: len(expected)]
    is_float = result.dtype.kind == "f"
    is_same = np.allclose(first, expected, tolerance, 0, equal_nan=True) if is_float else np.all(first == expected)
    return None if is_same else "the library returns other values"


class WeakCache(Generic[T]):
    """A cache by object identity, for as long as the objects live; the objects themselves are unchanged."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[weakref.ref[Any], T]] = {}

    def get(self, owner: Any) -> T | None:
        """Return the value stored for an object, or None."""
        entry = self._entries.get(id(owner))
        return entry[1] if entry is not None and entry[0]() is owner else None

    def put(self, owner: Any, value: T) -> T:
        """Store a value for an object."""
        number = id(owner)
        self._entries[number] = weakref.ref(owner, lambda reference: self._drop(number, reference)), value
        return value

    def forget(self, owner: Any) -> None:
        """Delete the value of an object."""
        self._entries.pop(id(owner), None)

    def _drop(self, number: int, reference: weakref.ref[Any]) -> None:
        entry = self._entries.get(number)
        if entry is not None and entry[0] is reference:
            del self._entries[number]


def sums(
    store: Store, data: Any, features: int, fingerprint: bytes, build: Callable[[], Forest]
) -> NDArray[numpy.floating[Any]] | None:
    """Return the sums [rows, outputs] of a model for this data, or None if its own library must predict."""
    if fingerprint in store.rejected:
        return None
    matrix = small_integers(data, features, LOWEST, HIGHEST)
    if matrix is None:
        return None
    try:
        return store.evaluator(fingerprint, build).sums(matrix)
    except UnsupportedModelError:
        return None


def columns_of(data: Any) -> list[Any] | None:
    """Return the names of a DataFrame's columns, or None for anything else."""
    pandas = sys.modules.get("pandas")
    return list(data.columns) if pandas is not None and isinstance(data, pandas.DataFrame) else None
