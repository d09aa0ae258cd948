"""CatBoost: `predict` and `predict_proba` of its regressors, classifiers and rankers.

CatBoost adds float64 leaves in the order of the trees, then multiplies by the scale and adds the bias, so raw values
are equal bit for bit; so are classes, and the probabilities of two classes. CatBoost itself handles: symmetric trees of
more than 5 levels, categorical, text and embedding features, probabilities of several classes, other kinds of
prediction, a single row passed as a list, and a `Pool`.
"""

from __future__ import annotations

import math
import platform
import struct
import sys
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from zlib import crc32

from .errors import UnsupportedModelError
from .nodes import forest_of_nodes
from .patching import MAX_PARTS, PatchedMethods, WeakCache, columns_of, sums

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from .forest import Forest
    from .store import Store

_HEADER = b"CBM1"
# Fields of the model's flatbuffer, in the order of its schema.
_CORE_TREES = 1
_OUTPUTS, _SPLITS, _SIZES, _STARTS, _CATEGORIES, _FLOATS, _ONE_HOT, _COMBINED, _VALUES = range(9)
_STEPS, _LEAF_OF_NODE, _TEXTS, _ESTIMATED = range(10, 14)
_FLAT_INDEX, _BORDERS = 2, 3
_NO_LEAF = 0xFFFFFFFF
_TWO_CLASSES = ("Logloss", "CrossEntropy")
# CatBoost itself is faster for deeper symmetric trees.
_MAX_LEVELS = 5
# Below it, exp of the negated value may overflow.
_MIN_RAW = -700.0


@lru_cache
def _heap(size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return each inner node's level and left child, for a full tree of `size` levels in heap order."""
    import numpy as np  # noqa: PLC0415

    level = np.repeat(np.arange(size), 1 << np.arange(size))
    return level, 2 * np.arange((1 << size) - 1) + 1


class _Table:
    """A table of a flatbuffer at a position; missing fields are empty."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at
        self.fields = at - self._number("<i", at)
        self.size = self._number("<H", self.fields)

    def _number(self, form: str, at: int) -> int:
        number: int = struct.unpack_from(form, self.data, at)[0]
        return number

    def _field(self, field: int) -> int:
        """Return the position of a field, or 0 if it is missing."""
        entry = 4 + 2 * field
        offset = self._number("<H", self.fields + entry) if entry < self.size else 0
        return self.at + offset if offset else 0

    def _target_of(self, field: int) -> int:
        at = self._field(field)
        return at + self._number("<I", at) if at else 0

    def number(self, field: int, default: int) -> int:
        """Return an int32."""
        at = self._field(field)
        return self._number("<i", at) if at else default

    def table(self, field: int) -> _Table:
        """Return another table. Raises ValueError if it is missing."""
        at = self._target_of(field)
        if not at:
            raise ValueError(f"no table {field}")
        return _Table(self.data, at)

    def tables(self, field: int) -> list[_Table]:
        """Return a list of tables."""
        at = self._target_of(field)
        count = self._number("<I", at) if at else 0
        return [_Table(self.data, entry + self._number("<I", entry)) for entry in range(at + 4, at + 4 + 4 * count, 4)]

    def numbers(self, field: int, dtype: str) -> NDArray[Any]:
        """Return a list of numbers as a read-only array."""
        import numpy as np  # noqa: PLC0415

        at = self._target_of(field)
        return np.frombuffer(self.data, dtype, self._number("<I", at) if at else 0, at + 4)


class Trees:
    """The trees of a model, from CatBoost's `cbm` format. Raises UnsupportedModelError."""

    def __init__(self, model: bytes) -> None:
        try:
            if model[:4] != _HEADER:
                raise ValueError("not in cbm format")
            data = model[8 : 8 + struct.unpack_from("<I", model, 4)[0]]
            trees = _Table(data, struct.unpack_from("<I", data, 0)[0]).table(_CORE_TREES)
            for field in (_CATEGORIES, _ONE_HOT, _COMBINED, _TEXTS, _ESTIMATED):
                if trees.tables(field):
                    raise UnsupportedModelError("CatBoost features that are not numeric")
            self.outputs = trees.number(_OUTPUTS, 0)
            floats = trees.tables(_FLOATS)
            self.columns = [feature.number(_FLAT_INDEX, -1) for feature in floats]
            self.borders = [feature.numbers(_BORDERS, "<f4") for feature in floats]
            self.splits = trees.numbers(_SPLITS, "<i4")
            self.sizes = trees.numbers(_SIZES, "<i4")
            self.starts = trees.numbers(_STARTS, "<i4")
            self.values = trees.numbers(_VALUES, "<f8")
            self.steps = trees.numbers(_STEPS, "<u4").view("<u2").reshape(-1, 2)
            self.leaf_of_node = trees.numbers(_LEAF_OF_NODE, "<u4")
        except (ValueError, struct.error) as error:
            raise UnsupportedModelError(f"an unreadable CatBoost model: {error}") from error

    def digest(self) -> bytes:
        """Return 32 bytes that identify these trees."""
        digest = blake2b(
            repr((self.outputs, self.columns, [len(borders) for borders in self.borders])).encode(), digest_size=32
        )
        for part in (self.splits, self.sizes, self.starts, self.values, self.steps, self.leaf_of_node, *self.borders):
            digest.update(part.tobytes())
        return digest.digest()

    def forest(self, trees: slice, features: int) -> Forest:
        """Return some of the trees, with sums starting at 0. Raises UnsupportedModelError."""
        import numpy as np  # noqa: PLC0415

        try:
            feature = np.repeat(self.columns, [len(borders) for borders in self.borders])
            border = np.concatenate(self.borders)
            nodes = self._stepwise(trees) if len(self.steps) else self._symmetric(trees)
            roots, split, left, right, leaf = nodes
            return forest_of_nodes(
                features=features,
                roots=roots,
                feature=feature[split],
                threshold=border[split].astype(np.float64),  # CatBoost goes right if the value is greater
                left=left,
                right=right,
                values=self.values[leaf[:, None] + np.arange(self.outputs)],
                start=np.zeros(self.outputs),
            )
        except (IndexError, ValueError) as error:
            raise UnsupportedModelError(f"an unreadable CatBoost model: {error}") from error

    def _symmetric(self, trees: slice) -> tuple[NDArray[Any], ...]:
        """Return trees with the same split in all nodes of a level, as nodes in heap order; [roots], then [nodes]."""
        import numpy as np  # noqa: PLC0415

        leaves = 1 << self.sizes.astype(np.int64)
        first_leaf = np.cumsum(leaves) - leaves
        roots, parts, offset = [], [], 0
        for tree in range(len(self.sizes))[trees]:
            size, start = int(self.sizes[tree]), int(self.starts[tree])
            level, child = _heap(size)
            split = self.splits[start : start + size][::-1]  # the first split is the lowest bit of a leaf's index
            outer = np.arange(len(level) + 1)
            parts.append(
                (
                    np.concatenate([split[level], 0 * outer]),
                    np.concatenate([child + offset, 0 * outer - 1]),
                    np.concatenate([0 * level, (outer + first_leaf[tree]) * self.outputs]),
                )
            )
            roots.append(offset)
            offset += len(level) + len(outer)
        split, left, leaf = (np.concatenate(part) for part in zip(*parts, strict=True))
        return np.array(roots), split, left, left + 1, leaf

    def _stepwise(self, trees: slice) -> tuple[NDArray[Any], ...]:
        """Return trees of any shape: a node stores the distances to its children; 0 means its own leaf."""
        import numpy as np  # noqa: PLC0415

        steps = self.steps.astype(np.int64)
        half_leaves = np.flatnonzero(steps.any(axis=1) & ~steps.all(axis=1))
        positions = np.arange(len(steps) + len(half_leaves))
        own = positions.copy()  # for a node with one child, the extra node that is its leaf
        own[half_leaves] = positions[len(steps) :]
        left, right = (
            np.where(steps[:, side], positions[: len(steps)] + steps[:, side], own[: len(steps)]) for side in (0, 1)
        )
        left[~steps.any(axis=1)] = -1
        leaf = self.leaf_of_node.astype(np.int64)
        leaf[leaf == _NO_LEAF] = 0
        return (
            self.starts[trees].copy(),
            np.concatenate([self.splits, 0 * half_leaves]),
            np.concatenate([left, 0 * half_leaves - 1]),
            np.concatenate([right, 0 * half_leaves - 1]),
            np.concatenate([leaf, leaf[half_leaves]]),
        )


class _Model:
    """The data of a model for predictions, until it changes. Raises UnsupportedModelError."""

    def __init__(self, model: Any) -> None:
        import numpy as np  # noqa: PLC0415

        inside = model._object
        if any(getattr(inside, f"_get_{kind}_feature_indices")() for kind in ("cat", "text", "embedding")):
            raise UnsupportedModelError("CatBoost features that are not numeric")
        scale, bias = inside._get_scale_and_bias()
        if scale != 1 and platform.machine().lower() not in ("x86_64", "amd64"):
            raise UnsupportedModelError("a CatBoost scale, on a processor with fused multiply-add")
        self.scale, self.bias = float(scale), np.array(bias, np.float64).ravel()
        self.trees = Trees(model._serialize_model())
        if not len(self.trees.steps) and self.trees.sizes.max(initial=0) > _MAX_LEVELS:
            raise UnsupportedModelError(f"symmetric trees of more than {_MAX_LEVELS} levels")
        self.loss = inside._get_loss_function_name()
        self.threshold = inside._get_binclass_probability_threshold()
        self.labels = np.asarray(inside._get_class_labels())
        self._parts: set[tuple[int, int]] = set()
        self._digest = self.trees.digest()

    def part(self, first: int, end: int) -> slice | None:
        """Return the trees that these arguments of predict select, or None if only CatBoost can predict with them."""
        count = len(self.trees.sizes)
        part = first, end or count
        if not 0 <= first < part[1] <= count or (len(self._parts) >= MAX_PARTS and part not in self._parts):
            return None
        self._parts.add(part)
        return slice(*part)

    def fingerprint(self, features: int, part: slice) -> bytes:
        """Return 32 bytes that identify some of these trees for data with that many columns."""
        return blake2b(f"catboost {features} {part}".encode(), key=self._digest, digest_size=32).digest()

    def raw(self, sums: NDArray[Any], from_first: bool) -> NDArray[numpy.float64]:
        """Return raw values [rows] or [rows, outputs] from sums [rows, outputs]; a part of the trees has no bias.

        Several outputs are in Fortran order, as in CatBoost.
        """
        values = sums if self.scale == 1 else sums * self.scale
        if from_first:
            values += self.bias
        return values[:, 0] if values.shape[1] == 1 else values

    def supports(self, kind: str) -> bool:
        """Return whether this kind of prediction can be computed from raw values."""
        classes = len(self.labels)
        is_binary = self.loss in _TWO_CLASSES and classes == 2 and self.trees.outputs == 1
        if kind == "Probability":
            return is_binary and sys.platform == "linux"  # elsewhere CatBoost may have its own exp
        is_multiclass = self.loss == "MultiClass" and classes == self.trees.outputs > 1
        labels = self.labels.dtype.kind in "iu" or all(type(label) is str for label in self.labels)
        return kind == "RawFormulaVal" or (
            kind == "Class" and labels and (is_multiclass or (is_binary and self.threshold == 0.5))
        )

    def predictions(self, raw: NDArray[numpy.float64], kind: str) -> NDArray[Any] | None:
        """Return a prediction of a kind that it `supports`, or None if a value is too small for it."""
        import numpy as np  # noqa: PLC0415

        if kind == "RawFormulaVal":
            return raw
        if kind == "Class":
            labels = self.labels.astype(np.int64 if self.labels.dtype.kind in "iu" else object)
            predicted: NDArray[Any] = (
                labels[(raw > 0).astype(np.intp)] if raw.ndim == 1 else labels[raw.argmax(1)[None]].T
            )
            return predicted
        if raw.min() < _MIN_RAW:
            return None
        # CatBoost calls exp of the C library; NumPy's differs in the last bits.
        probabilities = np.array([1 / (1 + math.exp(-value)) for value in raw.tolist()])
        return np.stack([1 - probabilities, probabilities]).T  # in Fortran order, as in CatBoost


class Patch(PatchedMethods):
    """CatBoost with the method replaced that all kinds of predict call."""

    def __init__(self, catboost: Any, store: Store) -> None:
        super().__init__(store)
        self._store = store
        self._models: WeakCache[tuple[tuple[object, ...], _Model | UnsupportedModelError]] = WeakCache()
        free = ("data", "prediction_type", "ntree_start", "ntree_end", "thread_count", "verbose", "parent_method_name")
        self.intercept(catboost.CatBoost, "_predict", free, self._predicted)

    def prepare(self, model: Any) -> None:
        """Compile a fitted model. Raises UnsupportedModelError."""
        compiled = self._model_of(model)
        if isinstance(compiled, UnsupportedModelError):
            raise compiled
        part = compiled.part(0, 0)
        if part is not None:
            features = len(model.feature_names_)
            self._store.evaluator(compiled.fingerprint(features, part), lambda: compiled.trees.forest(part, features))

    def _model_of(self, model: Any) -> _Model | UnsupportedModelError:
        inside = model._object
        entry = self._models.get(model)
        state: tuple[object, ...] = id(inside), inside._get_tree_count()
        if entry is not None and isinstance(entry[1], UnsupportedModelError) and entry[0][:2] == state:
            return entry[1]
        leaves = inside._get_leaf_values()
        state = *state, repr(inside._get_scale_and_bias()), crc32(leaves), len(leaves)
        if entry is None or entry[0] != state:
            try:
                entry = state, _Model(model)
            except UnsupportedModelError as error:
                entry = state, error
            self._models.put(model, entry)
        return entry[1]

    def _predicted(
        self, model: Any, data: Any, prediction_type: Any, ntree_start: Any, ntree_end: Any, **_: Any
    ) -> Any:
        if not model.is_fitted() or prediction_type not in ("RawFormulaVal", "Class", "Probability"):
            return None
        names, trained = columns_of(data), model.feature_names_
        if (names is not None and names != trained) or not type(ntree_start) is type(ntree_end) is int:
            return None
        compiled = self._model_of(model)
        if isinstance(compiled, UnsupportedModelError) or not compiled.supports(prediction_type):
            return None
        part, features = compiled.part(ntree_start, ntree_end), len(trained)
        if part is None:
            return None
        fingerprint = compiled.fingerprint(features, part)
        raw_sums = sums(self._store, data, features, fingerprint, lambda: compiled.trees.forest(part, features))
        return (
            None if raw_sums is None else compiled.predictions(compiled.raw(raw_sums, not part.start), prediction_type)
        )


def patch(catboost: Any, store: Store) -> Patch:
    """Let models predict with compiled trees of `store`; `undo` of the result restores CatBoost's own methods."""
    return Patch(catboost, store)
