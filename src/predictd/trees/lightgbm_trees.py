"""LightGBM: tables from its text form of a model, predict by them, and handles made only when needed.

LightGBM adds leaf values in float64 in the order of the trees and then transforms the sums, so results are equal bit
for bit. A booster's handle, LightGBM's own form of the model, takes longer to make from a pickle than a prediction by
tables: an unpickled booster keeps its text instead, until something asks for the handle.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import threading
import weakref
from typing import TYPE_CHECKING, Any

from .compiled import compile_arrays
from .errors import UnsupportedModel
from .forest import HIGHEST, LOWEST
from .matrix import small_integers
from .native import ForestArrays, library
from .patching import Known, Replaced

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .store import Store

_SQUARE_SIGNED, _EXPONENTIAL, _SIGMOID, _SOFTMAX, _LOG_EXPONENTIAL = 1, 2, 3, 4, 5
_AS_THEY_ARE = {
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
_CHANGE_THE_MODEL = (
    "update",
    "rollback_one_iter",
    "shuffle_models",
    "set_leaf_output",
    "reset_parameter",
    "_Booster__boost",
)
_FIRST_VERSION = 4
_ERROR_LENGTH = 256
# Iterations that are compared with the library's own result: to load a large model takes it seconds.
_CONFIRMED = 100


class Text:
    """A model in LightGBM's text form, and what its head says.

    Raises UnsupportedModel for an objective that is not known.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        end = text.find("\nTree=")
        if end < 0:
            raise UnsupportedModel("a LightGBM model without trees")
        self.trees_at = end + 1
        lines = [line.partition("=") for line in text[:end].split("\n")]
        head = {key: value for key, _, value in lines}
        self._names = head.get("feature_names", "")
        self.averages = "average_output" in head
        try:
            self.features = int(head["max_feature_idx"]) + 1
            self.outputs = int(head["num_tree_per_iteration"])
        except (KeyError, ValueError) as error:
            raise UnsupportedModel("a LightGBM model of an unknown layout") from error
        sizes = head.get("tree_sizes")
        self.trees = len(sizes.split()) if sizes else text.count("\nTree=")
        if self.outputs < 1 or self.trees % self.outputs:
            raise UnsupportedModel("a LightGBM model of an unknown layout")
        self.iterations = self.trees // self.outputs
        self.transform, self.parameter = _transform(head.get("objective", ""))

    def feature_names(self) -> list[str]:
        """The names of the features, in order."""
        return self._names.split(" ")

    @functools.cached_property
    def digest(self) -> bytes:
        """SHA-256 of the text."""
        return hashlib.sha256(_bytes_of(self.text)).digest()

    def fingerprint(self, first: int, count: int) -> bytes:
        """32 bytes that tell these iterations of this model from all others."""
        return hashlib.sha256(b"lightgbm %d %d " % (first, count) + self.digest).digest()

    def tables(self, first: int, count: int, fingerprint: bytes) -> bytes:
        """The tables of `count` iterations from `first` on. About 10 µs a tree. Raises UnsupportedModel."""
        import numpy as np  # noqa: PLC0415

        start = np.zeros(self.outputs, dtype=np.float64)
        arrays = ForestArrays(
            features=self.features, low=LOWEST, high=HIGHEST, outputs=self.outputs, start=start.ctypes.data
        )
        error = ctypes.create_string_buffer(_ERROR_LENGTH)
        content = _bytes_of(self.text[self.trees_at :])
        read = library().trees_read_lightgbm(
            ctypes.addressof(content),
            len(content),
            first * self.outputs,
            count * self.outputs,
            ctypes.byref(arrays),
            error,
            _ERROR_LENGTH,
        )
        if not read:
            raise UnsupportedModel(f"a LightGBM model that can't be compiled: {error.value.decode()}")
        try:
            return compile_arrays(arrays, fingerprint)
        finally:
            library().trees_free_lightgbm(read)

    def short(self, iterations: int) -> str | None:
        """Return the text of a model of the first iterations alone; None where the text has another layout."""
        head, marker, sizes_on = self.text[: self.trees_at].partition("\ntree_sizes=")
        sizes, _, rest = sizes_on.partition("\n")
        kept = sizes.split()[: iterations * self.outputs]
        end, tail = self.trees_at + sum(map(int, kept)), self.text.rfind("\nend of trees\n")
        if not marker or not self.text.startswith(f"Tree={len(kept)}\n", end) or tail < end:
            return None
        return f"{head}{marker}{' '.join(kept)}\n{rest}{self.text[self.trees_at : end]}{self.text[tail + 1 :]}"

    def part(self, start: int, number: int) -> tuple[int, int]:
        """The first iteration and the number of iterations that LightGBM uses for these arguments of predict."""
        first = min(max(start, 0), self.iterations)
        left = self.iterations - first
        return first, min(number, left) if number > 0 else left


def _bytes_of(text: str) -> Any:
    """The UTF-8 bytes of a text as a ctypes array: of an ASCII text its own memory, which it keeps alive."""
    length = ctypes.c_ssize_t()
    function = ctypes.pythonapi.PyUnicode_AsUTF8AndSize
    function.restype = ctypes.c_void_p
    function.argtypes = (ctypes.py_object, ctypes.POINTER(ctypes.c_ssize_t))
    address = function(text, ctypes.byref(length))
    array = (ctypes.c_char * length.value).from_address(address)
    array.of = text  # type: ignore[attr-defined]
    return array


def _transform(objective: str) -> tuple[int, float]:
    """Which transformation an objective makes, and its parameter."""
    name, *rest = objective.split(" ")
    if "sqrt" in rest:
        name += " sqrt"
    if name in _AS_THEY_ARE:
        return 0, 0.0
    if name not in _TRANSFORMED:
        raise UnsupportedModel(f"a LightGBM model with the objective {objective!r}")
    sigmoid = next((word.partition(":")[2] for word in rest if word.startswith("sigmoid:")), "1")
    # LightGBM reads fractions here in a way of its own.
    if not sigmoid.isdecimal():
        raise UnsupportedModel(f"a LightGBM model with the objective {objective!r}")
    return _TRANSFORMED[name], float(sigmoid)


class _Boosters:
    """What is known of this process's boosters: their text, and whether their handle is still to be made."""

    def __init__(self, lightgbm: Any, store: Store) -> None:
        self.store = store
        self._texts: Known[str] = Known()
        self._models: Known[Text | UnsupportedModel] = Known()
        self._lock = threading.RLock()
        self.without_handle: weakref.WeakSet[Any] = weakref.WeakSet()
        self._load = lightgbm.Booster.__setstate__

    def remember(self, booster: Any, text: str) -> None:
        """This is the booster's model."""
        self.forget(booster)
        self._texts.put(booster, text)

    def forget(self, booster: Any) -> None:
        """The booster's model is another now."""
        self._texts.forget(booster)
        self._models.forget(booster)

    def text_of(self, booster: Any) -> str | None:
        """The booster's model as text, where it is known without asking LightGBM."""
        return self._texts.get(booster)

    def model(self, booster: Any) -> Text | None:
        """The booster's model, None where it is not known. Raises UnsupportedModel."""
        known = self._models.get(booster)
        if known is None:
            text = self._texts.get(booster)
            if text is None:
                return None
            try:
                known = Text(text)
            except UnsupportedModel as error:
                known = error
            self._models.put(booster, known)
        if isinstance(known, UnsupportedModel):
            raise known
        return known

    def make_handle(self, booster: Any) -> bool:
        """Give LightGBM the text of a booster without a handle, as its own unpickling does; whether it has one now."""
        with self._lock:
            text = self._texts.get(booster)
            if "_handle" not in booster.__dict__ and text is not None:
                self._load(booster, {"_handle": text})
                self.without_handle.discard(booster)
        return "_handle" in booster.__dict__

    def need_handle(self, booster: Any) -> None:
        """The same, for a method that is about to change the handle's model."""
        self.make_handle(booster)

    def feature_name(self, booster: Any) -> list[str] | None:
        """The names of the features of a booster without a handle."""
        try:
            model = None if "_handle" in booster.__dict__ else self.model(booster)
        except UnsupportedModel:
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
        """What LightGBM's predict would answer, or None where only it can."""
        if type(raw_score) is not bool or any(_matters(name) for name in kwargs):
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
            return self._answer(model, matrix, first, count, raw_score)
        except UnsupportedModel:
            return None

    def shorten(self, booster: Any) -> Any:
        """Return a booster of the first iterations of one without a handle; None where it has one or is as short."""
        model = None if "_handle" in booster.__dict__ else self.model(booster)
        text = None if model is None or model.iterations <= _CONFIRMED else model.short(_CONFIRMED)
        if text is None:
            return None
        kind: Any = type(booster)
        short = kind.__new__(kind)
        short.__setstate__({**booster.__dict__, "_handle": text})
        return short

    def prepare(self, booster: Any) -> None:
        """Compile what predict without options uses. Raises UnsupportedModel."""
        if self.text_of(booster) is None:
            self.remember(booster, booster.model_to_string(num_iteration=-1))
        model = self.model(booster)
        if model is not None:
            self._evaluator(model, *model.part(0, booster.best_iteration))

    def _evaluator(self, model: Text, first: int, count: int) -> Any:
        fingerprint = model.fingerprint(first, count)
        return self.store.evaluator(fingerprint, lambda: model.tables(first, count, fingerprint))

    def _answer(self, model: Text, matrix: NDArray[np.int8], first: int, count: int, raw_score: bool) -> Any:
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


def _matters(name: str) -> bool:
    """Whether a parameter given to predict may change what it answers."""
    return "pred" in name.lower() or name in ("raw_score", "leaf_index", "contrib", "config", "config_file")


class Patch(Replaced):
    """LightGBM with some of its boosters' methods replaced."""

    def __init__(self, lightgbm: Any, boosters: _Boosters) -> None:
        super().__init__(boosters.store)
        self._lightgbm, self._boosters = lightgbm, boosters
        owner = lightgbm.Booster
        free = ("data", "start_iteration", "num_iteration", "raw_score", "data_has_header", "kwargs")
        self.answer(owner, "predict", free, boosters.predict, shorten=boosters.shorten)
        self.answer(owner, "feature_name", (), boosters.feature_name)
        for name in _CHANGE_THE_MODEL:
            if name in owner.__dict__:
                self.around(owner, name, before=boosters.need_handle, after=boosters.forget)
        self._keep_texts(owner)

    def prepare(self, model: Any) -> None:
        """Compile a Booster or a fitted LGBMRegressor, LGBMClassifier, LGBMRanker. Raises UnsupportedModel."""
        booster = model if isinstance(model, self._lightgbm.Booster) else getattr(model, "booster_", None)
        if booster is None:
            raise UnsupportedModel(f"{type(model).__name__} holds no booster of LightGBM")
        self._boosters.prepare(booster)

    def undo(self) -> None:
        """Put LightGBM's own methods back, once every booster has its handle."""
        for booster in list(self._boosters.without_handle):
            self._boosters.make_handle(booster)
        if "__getattr__" in self._lightgbm.Booster.__dict__:
            del self._lightgbm.Booster.__getattr__
        super().undo()

    def _keep_texts(self, owner: Any) -> None:
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
            found = read(booster, model_str)
            boosters.remember(booster, model_str)
            return found

        def missing(booster: Any, name: str) -> Any:
            if name == "_handle" and boosters.make_handle(booster):
                return booster.__dict__["_handle"]
            raise AttributeError(f"{type(booster).__name__!r} object has no attribute {name!r}")

        self._set(owner, "__setstate__", setstate)
        self._set(owner, "__getstate__", getstate)
        self._set(owner, "__del__", finalize)
        self._set(owner, "model_from_string", model_from_string)
        owner.__getattr__ = missing


def patch(lightgbm: Any, store: Store) -> Replaced:
    """Let boosters answer by compiled trees of `store`; `undo` of what is returned puts LightGBM's own methods back."""
    if int(lightgbm.__version__.split(".")[0]) < _FIRST_VERSION or "__getattr__" in lightgbm.Booster.__dict__:
        return Replaced(store)
    return Patch(lightgbm, _Boosters(lightgbm, store))
