"""Methods of libraries, replaced so that they answer by compiled trees where that gives the same, and put back."""

from __future__ import annotations

import functools
import inspect
import sys
import weakref
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .errors import UnsupportedModel
from .forest import HIGHEST, LOWEST
from .matrix import small_integers

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy
    from numpy.typing import NDArray

    from .forest import Forest
    from .store import Store

T = TypeVar("T")
_UNFORESEEN = (AttributeError, TypeError, ValueError, LookupError)
HEAD_ROWS = 2
# The flags of an array: C order, Fortran order, aligned, writeable.
_LAYOUT = 0x1 | 0x2 | 0x100 | 0x400
MOST_PARTS = 4
"""Of how many parts of a model's trees tables are kept; who asks for more, one by one, is answered by the library."""


def head_of(data: Any) -> Any:
    """Return the first rows of a DataFrame or of an array."""
    return getattr(data, "iloc", data)[:HEAD_ROWS]


class Replaced:
    """The methods that were replaced in one library."""

    def __init__(self, store: Store) -> None:
        self._compiled = store
        self._originals: list[tuple[type, str, Any]] = []

    def answer(
        self,
        owner: type,
        name: str,
        free: tuple[str, ...],
        answer: Callable[..., Any],
        *,
        head: Callable[[Any], Any] = head_of,
        shorten: Callable[[Any], Any] | None = None,
        tolerance: float = 0.0,
    ) -> None:
        """Let `answer(self, **those in free)` be asked first; where it says None, the method itself is.

        It is not asked when another argument than those in `free` differs from its default. The method itself is asked
        too where `answer` fails on something unforeseen, as in a version of the library that has other attributes.

        The first result of new tables for each object and each set of options is compared with what the method returns
        for `head` of the data, which is the first argument in `free`. Where `shorten` returns a smaller copy of the
        object, which the library loads sooner, this is done with the copy instead. If the method raises, or if dtype,
        layout or values differ (these by more than `tolerance`, relative), the tables are not used.
        """
        store = self._compiled
        confirmed: Known[set[tuple[bytes, str]]] = Known()
        original = owner.__dict__[name]
        signature = inspect.signature(original)
        defaults = {of: parameter.default for of, parameter in signature.parameters.items()}

        @functools.wraps(original)
        def asked(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                given = signature.bind(self, *args, **kwargs)
            except TypeError:
                return original(self, *args, **kwargs)
            given.apply_defaults()
            _, *values = given.arguments.items()
            found = None
            if all(of in free or _same(value, defaults[of]) for of, value in values):
                store.asked = None
                try:
                    found = answer(self, **{of: value for of, value in values if of in free})
                except _UNFORESEEN:
                    found = None
            fingerprint = store.asked
            if found is not None and fingerprint is not None and store.is_new(fingerprint):
                call = fingerprint, repr([value for of, value in values if of in free[1:]])
                calls = confirmed.get(self) or confirmed.put(self, set())
                if call not in calls:
                    given.arguments[free[0]] = head(given.arguments[free[0]])
                    compared, owned = found, next(iter(given.arguments))
                    if shorten is not None and (short := shorten(self)) is not None:
                        store.asked = None
                        options = {of: value for of, value in given.arguments.items() if of in free}
                        of_short = answer(short, **options)
                        if store.asked is not None:
                            store.forget(store.asked)
                        if of_short is not None:
                            compared, given.arguments[owned] = of_short, short
                    problem = _difference(compared, lambda: original(*given.args, **given.kwargs), tolerance)
                    if problem is None:
                        calls.add(call)
                    else:
                        store.refuse(fingerprint, f"{owner.__name__}.{name}: {problem}")
                        found = None
            return original(self, *args, **kwargs) if found is None else found

        self._set(owner, name, asked)

    def around(
        self, owner: type, name: str, *, after: Callable[[Any], None], before: Callable[[Any], None] | None = None
    ) -> None:
        """Call `before(self)` before each call of the method and `after(self)` after it, also if it raised."""
        original = owner.__dict__[name]

        @functools.wraps(original)
        def called(self: Any, *args: Any, **kwargs: Any) -> Any:
            if before is not None:
                before(self)
            try:
                return original(self, *args, **kwargs)
            finally:
                after(self)

        self._set(owner, name, called)

    def undo(self) -> None:
        """Put the originals back."""
        while self._originals:
            owner, name, original = self._originals.pop()
            setattr(owner, name, original)

    def _set(self, owner: type, name: str, method: Any) -> None:
        self._originals.append((owner, name, owner.__dict__[name]))
        setattr(owner, name, method)


def _same(value: Any, default: Any) -> bool:
    """Whether an argument is its default; NaN is NaN."""
    if isinstance(value, float) and isinstance(default, float):
        return value == default or (value != value and default != default)  # noqa: PLR0124
    return value is default or (type(value) is type(default) and bool(value == default))


def _difference(found: Any, ask_library: Callable[[], Any], tolerance: float) -> str | None:
    """Describe how what the library returns for the first rows differs from `found`; None if it does not."""
    import numpy as np  # noqa: PLC0415

    try:
        expected = ask_library()
    except Exception as error:  # noqa: BLE001 (the whole call raises it again)
        return f"the library raises {type(error).__name__}"
    if type(found) is not type(expected):
        return f"the library returns {type(expected).__name__}, not {type(found).__name__}"
    form, own = ((of.dtype, of.shape[1:], of.flags.num & _LAYOUT) for of in (found, expected))
    if form != own:
        return f"the library returns {own}, not {form} (dtype, columns, layout)"
    first = found[: len(expected)]
    is_float = found.dtype.kind == "f"
    is_same = np.allclose(first, expected, tolerance, 0, equal_nan=True) if is_float else np.all(first == expected)
    return None if is_same else "the library returns other values"


class Known(Generic[T]):
    """What was found out about objects, for as long as they live; nothing is kept in the objects themselves."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[weakref.ref[Any], T]] = {}

    def get(self, of: Any) -> T | None:
        """What is known of an object."""
        entry = self._found.get(id(of))
        return entry[1] if entry is not None and entry[0]() is of else None

    def put(self, of: Any, what: T) -> T:
        """Remember it."""
        number = id(of)
        self._found[number] = weakref.ref(of, lambda gone: self._drop(number, gone)), what
        return what

    def forget(self, of: Any) -> None:
        """Nothing is known of it any more."""
        self._found.pop(id(of), None)

    def _drop(self, number: int, gone: weakref.ref[Any]) -> None:
        entry = self._found.get(number)
        if entry is not None and entry[0] is gone:
            del self._found[number]


def sums(
    store: Store, data: Any, features: int, fingerprint: bytes, make: Callable[[], Forest]
) -> NDArray[numpy.floating[Any]] | None:
    """The sums [rows, outputs] of a model for this data, None where its own library must answer."""
    if fingerprint in store.refused:
        return None
    matrix = small_integers(data, features, LOWEST, HIGHEST)
    if matrix is None:
        return None
    try:
        return store.evaluator(fingerprint, make).sums(matrix)
    except UnsupportedModel:
        return None


def columns_of(data: Any) -> list[Any] | None:
    """The names of a DataFrame's columns, None for anything else."""
    pandas = sys.modules.get("pandas")
    return list(data.columns) if pandas is not None and isinstance(data, pandas.DataFrame) else None
