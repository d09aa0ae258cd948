"""LightGBM: compile its text format into tables, predict with them, and create handles only on demand.

LightGBM adds leaf values in float64 in the order of the trees and then transforms the sums, so results are equal bit
for bit. Creating a booster's handle, LightGBM's own form of the model, from a pickle takes longer than a prediction
with tables: an unpickled booster stores its text until something accesses the handle.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import threading
import weakref
from typing import TYPE_CHECKING, Any

from .compiled import compile_arrays
from .errors import UnsupportedModelError
from .forest import HIGHEST, LOWEST
from .matrix import small_integers
from .native import ForestArrays, library
from .patching import PatchedMethods, WeakCache

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .store import Store

_SQUARE_SIGNED, _EXPONENTIAL, _SIGMOID, _SOFTMAX, _LOG_EXPONENTIAL = 1, 2, 3, 4, 5
_UNTRANSFORMED = {
    "": 0,
    "regression": 0,
    "regression_l1": 0,
    "huber": 0,
    "fair": 0,
    "quantile": 0,
    "mape": 0,
    "lambdarank": 0,
    "rank_xendcg": 0,
}
_TRANSFORMED = {
    "regression sqrt": _SQUARE_SIGNED,
    "poisson": _EXPONENTIAL,
    "gamma": _EXPONENTIAL,
    "tweedie": _EXPONENTIAL,
    "binary": _SIGMOID,
    "multiclass": _SOFTMAX,
    "multiclassova": _SIGMOID,
    "cross_entropy": _SIGMOID,
    "cross_entropy_lambda": _LOG_EXPONENTIAL,
}
_MUTATORS = (
    "update",
    "rollback_one_iter",
    "shuffle_models",
    "set_leaf_output",
    "reset_parameter",
    "_Booster__boost",
)
_MIN_VERSION = 4
_ERROR_LENGTH = 256
# Iterations that are compared with the library's own result, because loading a large model takes seconds.
_COMPARED_ITERATIONS = 100


class ModelText:
    """A model in LightGBM's text format, with its parsed header.

    Raises UnsupportedModelError for an unknown objective.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        end = text.find("\nTree=")
        if end < 0:
            raise UnsupportedModelError("a LightGBM model without trees")
        self.trees_at = end + 1
        lines = [line.partition("=") for line in text[:end].split("\n")]
        head = {key: value for key, _, value in lines}
        self._names = head.get("feature_names", "")
        self.averages = "average_output" in head
        try:
            self.features = int(head["max_feature_idx"]) + 1
            self.outputs = int(head["num_tree_per_iteration"])
        except (KeyError, ValueError) as error:
            raise UnsupportedModelError("a LightGBM model with an unknown layout") from error
        sizes = head.get("tree_sizes")
        self.trees = len(sizes.split()) if sizes else text.count("\nTree=")
        if self.outputs < 1 or self.trees % self.outputs:
            raise UnsupportedModelError("a LightGBM model with an unknown layout")
        self.iterations = self.trees // self.outputs
        self.transform, self.parameter = _transform(head.get("objective", ""))

    def feature_names(self) -> list[str]:
        """Return the names of the features, in order."""
        return self._names.split(" ")

    @functools.cached_property
    def digest(self) -> bytes:
        """SHA-256 of the text."""
        return hashlib.sha256(_bytes_of(self.text)).digest()

    def fingerprint(self, first: int, count: int) -> bytes:
        """Return 32 bytes that identify these iterations of this model."""
        return hashlib.sha256(b"lightgbm %d %d " % (first, count) + self.digest).digest()

    def tables(self, first: int, count: int, fingerprint: bytes) -> bytes:
        """Return the tables of `count` iterations from `first`, at about 10 µs a tree. Raises UnsupportedModelError."""
        import numpy as np  # noqa: PLC0415

        start = np.zeros(self.outputs, dtype=np.float64)
        arrays = ForestArrays(
            features=self.features, low=LOWEST, high=HIGHEST, outputs=self.outputs, start=start.ctypes.data
        )
        error = ctypes.create_string_buffer(_ERROR_LENGTH)
        content = _bytes_of(self.text[self.trees_at :])
        parsed = library().trees_read_lightgbm(
            ctypes.addressof(content),
            len(content),
            first * self.outputs,
            count * self.outputs,
            ctypes.byref(arrays),
            error,
            _ERROR_LENGTH,
        )
        if not parsed:
            raise UnsupportedModelError(f"an uncompilable LightGBM model: {error.value.decode()}")
        try:
            return compile_arrays(arrays, fingerprint)
        finally:
            library().trees_free_lightgbm(parsed)

    def truncated(self, iterations: int) -> str | None:
        """Return the text of a model with only the first iterations, or None for another layout."""
        head, marker, sizes_on = self.text[: self.trees_at].partition("\ntree_sizes=")
        sizes, _, rest = sizes_on.partition("\n")
        first_sizes = sizes.split()[: iterations * self.outputs]
        end, tail = self.trees_at + sum(map(int, first_sizes)), self.text.rfind("\nend of trees\n")
        if not marker or not self.text.startswith(f"Tree={len(first_sizes)}\n", end) or tail < end:
            return None
        return f"{head}{marker}{' '.join(first_sizes)}\n{rest}{self.text[self.trees_at : end]}{self.text[tail + 1 :]}"

    def part(self, start: int, number: int) -> tuple[int, int]:
        """Return the first iteration and the number of iterations that LightGBM uses for these arguments of predict."""
        first = min(max(start, 0), self.iterations)
        remaining = self.iterations - first
        return first, min(number, remaining) if number > 0 else remaining


def _bytes_of(text: str) -> Any:
    """Return the UTF-8 bytes of a text as a ctypes array, which shares and keeps alive the memory of an ASCII text."""
    length = ctypes.c_ssize_t()
    function = ctypes.pythonapi.PyUnicode_AsUTF8AndSize
    function.restype = ctypes.c_void_p
    function.argtypes = (ctypes.py_object, ctypes.POINTER(ctypes.c_ssize_t))
    address = function(text, ctypes.byref(length))
    array = (ctypes.c_char * length.value).from_address(address)
    array.of = text  # type: ignore[attr-defined]
    return array


def _transform(objective: str) -> tuple[int, float]:
    """Return the transformation of an objective, and its parameter."""
    name, *rest = objective.split(" ")
    if "sqrt" in rest:
        name += " sqrt"
    if name in _UNTRANSFORMED:
        return 0, 0.0
    if name not in _TRANSFORMED:
        raise UnsupportedModelError(f"a LightGBM model with the objective {objective!r}")
    sigmoid = next((word.partition(":")[2] for word in rest if word.startswith("sigmoid:")), "1")
    # LightGBM parses fractions here in its own way.
    if not sigmoid.isdecimal():
        raise UnsupportedModelError(f"a LightGBM model with the objective {objective!r}")
    return _TRANSFORMED[name], float(sigmoid)


class _Boosters:
    """The text of this process's boosters, and which of them have no handle yet."""

    def __init__(self, lightgbm: Any, store: Store) -> None:
        self.store = store
        self._texts: WeakCache[str] = WeakCache()
        self._models: WeakCache[ModelText | UnsupportedModelError] = WeakCache()
        self._lock = threading.RLock()
        self.without_handle: weakref.WeakSet[Any] = weakref.WeakSet()
        self._load = lightgbm.Booster.__setstate__

    def remember(self, booster: Any, text: str) -> None:
        """Store the text of the booster's model."""
        self.forget(booster)
        self._texts.put(booster, text)

    def forget(self, booster: Any) -> None:
        """Forget the booster's model, which has changed."""
        self._texts.forget(booster)
        self._models.forget(booster)

    def text_of(self, booster: Any) -> str | None:
        """Return the text of the booster's model if it is stored, or None."""
        return self._texts.get(booster)

    def model(self, booster: Any) -> ModelText | None:
        """Return the booster's model, or None if its text is not stored. Raises UnsupportedModelError."""
        model = self._models.get(booster)
        if model is None:
            text = self._texts.get(booster)
            if text is None:
                return None
            try:
                model = ModelText(text)
            except UnsupportedModelError as error:
                model = error
            self._models.put(booster, model)
        if isinstance(model, UnsupportedModelError):
            raise model
        return model

    def ensure_handle(self, booster: Any) -> bool:
        """Load a booster's stored text as LightGBM's own unpickling does; return whether it has a handle now."""
        with self._lock:
            text = self._texts.get(booster)
            if "_handle" not in booster.__dict__ and text is not None:
                self._load(booster, {"_handle": text})
                self.without_handle.discard(booster)
        return "_handle" in booster.__dict__

    def before_change(self, booster: Any) -> None:
        """Ensure a handle for a method that is about to change the model."""
        self.ensure_handle(booster)

    def feature_name(self, booster: Any) -> list[str] | None:
        """Return the names of the features of a booster without a handle."""
        try:
            model = None if "_handle" in booster.__dict__ else self.model(booster)
        except UnsupportedModelError:
            return None
        return None if model is None else model.feature_names()

    def predict(
        self,
        booster: Any,
        data: Any,
        start_iteration: Any,
        num_iteration: Any,
        raw_score: Any,
        data_has_header: Any,
        kwargs: dict[str, Any],
    ) -> Any:
        """Return LightGBM's prediction, or None if only LightGBM can compute it."""
        if type(raw_score) is not bool or any(_affects_result(name) for name in kwargs):
            return None
        try:
            model = self.model(booster)
            if model is None or (type(data).__name__ == "DataFrame" and booster.pandas_categorical):
                return None
            matrix = small_integers(data, model.features, LOWEST, HIGHEST)
            if matrix is None:
                return None
            if num_iteration is None and type(start_iteration) is int:
                num_iteration = booster.best_iteration if start_iteration <= 0 else -1
            if type(start_iteration) is not int or type(num_iteration) is not int:
                return None
            first, count = model.part(start_iteration, num_iteration)
            return self._compute(model, matrix, first, count, raw_score)
        except UnsupportedModelError:
            return None

    def shorten(self, booster: Any) -> Any:
        "Return a booster with the first iterations of a booster without a handle, or None if it is short or has one."
        model = None if "_handle" in booster.__dict__ else self.model(booster)
        text = (
            None if model is None or model.iterations <= _COMPARED_ITERATIONS else model.truncated(_COMPARED_ITERATIONS)
        )
        if text is None:
            return None
        kind: Any = type(booster)
        short = kind.__new__(kind)
        short.__setstate__({**booster.__dict__, "_handle": text})
        return short

    def prepare(self, booster: Any) -> None:
        """Compile the trees that predict without options uses. Raises UnsupportedModelError."""
        if self.text_of(booster) is None:
            self.remember(booster, booster.model_to_string(num_iteration=-1))
        model = self.model(booster)
        if model is not None:
            self._evaluator(model, *model.part(0, booster.best_iteration))

    def _evaluator(self, model: ModelText, first: int, count: int) -> Any:
        fingerprint = model.fingerprint(first, count)
        return self.store.evaluator(fingerprint, lambda: model.tables(first, count, fingerprint))

    def _compute(self, model: ModelText, matrix: NDArray[np.int8], first: int, count: int, raw_score: bool) -> Any:
        import numpy as np  # noqa: PLC0415

        if count == 0:
            return None
        sums = np.ascontiguousarray(self._evaluator(model, first, count).sums(matrix))
        if not raw_score:
            if model.averages:
                sums /= count
            if model.transform:
                library().trees_transform(
                    model.transform, model.parameter, sums.ctypes.data, sums.shape[0], sums.shape[1]
                )
        return sums[:, 0] if model.outputs == 1 else sums


def _affects_result(name: str) -> bool:
    """Return whether a parameter of predict may change its result."""
    return "pred" in name.lower() or name in ("raw_score", "leaf_index", "contrib", "config", "config_file")


class Patch(PatchedMethods):
    """LightGBM with some methods of its boosters replaced."""

    def __init__(self, lightgbm: Any, boosters: _Boosters) -> None:
        super().__init__(boosters.store)
        self._lightgbm, self._boosters = lightgbm, boosters
        owner = lightgbm.Booster
        free = ("data", "start_iteration", "num_iteration", "raw_score", "data_has_header", "kwargs")
        self.intercept(owner, "predict", free, boosters.predict, shorten=boosters.shorten)
        self.intercept(owner, "feature_name", (), boosters.feature_name)
        for name in _MUTATORS:
            if name in owner.__dict__:
                self.around(owner, name, before=boosters.before_change, after=boosters.forget)
        self._store_texts(owner)

    def prepare(self, model: Any) -> None:
        """Compile a Booster or a fitted LGBMRegressor, LGBMClassifier or LGBMRanker. Raises UnsupportedModelError."""
        booster = model if isinstance(model, self._lightgbm.Booster) else getattr(model, "booster_", None)
        if booster is None:
            raise UnsupportedModelError(f"{type(model).__name__} has no LightGBM booster")
        self._boosters.prepare(booster)

    def undo(self) -> None:
        """Restore LightGBM's own methods, after creating the handle of every booster."""
        for booster in list(self._boosters.without_handle):
            self._boosters.ensure_handle(booster)
        if "__getattr__" in self._lightgbm.Booster.__dict__:
            del self._lightgbm.Booster.__getattr__
        super().undo()

    def _store_texts(self, owner: Any) -> None:
        boosters = self._boosters
        load, save, delete, read = owner.__setstate__, owner.__getstate__, owner.__del__, owner.model_from_string

        @functools.wraps(load)
        def setstate(booster: Any, state: dict[str, Any]) -> None:
            text = state.get("_handle")
            if not isinstance(text, str):
                load(booster, state)
                return
            booster.__dict__.update({name: value for name, value in state.items() if name != "_handle"})
            boosters.remember(booster, text)
            boosters.without_handle.add(booster)

        @functools.wraps(save)
        def getstate(booster: Any) -> Any:
            text = boosters.text_of(booster)
            if "_handle" in booster.__dict__ or text is None:
                return save(booster)
            return {**booster.__dict__, "_handle": text}

        @functools.wraps(delete)
        def finalize(booster: Any) -> None:
            if "_handle" in booster.__dict__:
                delete(booster)

        @functools.wraps(read)
        def model_from_string(booster: Any, model_str: str) -> Any:
            result = read(booster, model_str)
            boosters.remember(booster, model_str)
            return result

        def missing(booster: Any, name: str) -> Any:
            if name == "_handle" and boosters.ensure_handle(booster):
                return booster.__dict__["_handle"]
            raise AttributeError(f"{type(booster).__name__!r} object has no attribute {name!r}")

        self._set(owner, "__setstate__", setstate)
        self._set(owner, "__getstate__", getstate)
        self._set(owner, "__del__", finalize)
        self._set(owner, "model_from_string", model_from_string)
        owner.__getattr__ = missing


def patch(lightgbm: Any, store: Store) -> PatchedMethods:
    """Let boosters predict with compiled trees of `store`; `undo` of the result restores LightGBM's own methods."""
    if int(lightgbm.__version__.split(".")[0]) < _MIN_VERSION or "__getattr__" in lightgbm.Booster.__dict__:
        return PatchedMethods(store)
    return Patch(lightgbm, _Boosters(lightgbm, store))
