"""XGBoost: `Booster.inplace_predict` and `Booster.predict`, which the `XGBRegressor` family calls.

XGBoost adds float32 leaves to the float32 base score in the order of the trees, so sums are equal bit for bit. XGBoost
itself transforms the sums (to a probability, a class), with a booster that has the same objective and no splits.
XGBoost itself also handles: dart and gblinear, categories, trees with vectors in their leaves, a base margin,
contributions, leaves, `strict_shape`, a `missing` other than NaN, and sparse or other data that the evaluator does not
read.
"""

from __future__ import annotations

import json
import struct
import weakref
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from . import ubjson
from .errors import UnsupportedModelError
from .nodes import forest_of_nodes
from .patching import HEAD_ROWS, MAX_PARTS, PatchedMethods, WeakCache, columns_of, sums

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy
    from numpy.typing import NDArray

    from .forest import Forest
    from .store import Store

# Objectives whose prediction is the sum itself.
_PLAIN = {
    "reg:squarederror",
    "reg:squaredlogerror",
    "reg:pseudohubererror",
    "reg:absoluteerror",
    "reg:quantileerror",
    "rank:pairwise",
    "rank:ndcg",
    "rank:map",
    "binary:logitraw",
}
_TREE = {
    *("base_weights", "categories", "categories_nodes", "categories_segments", "categories_sizes", "default_left"),
    *("id", "left_children", "loss_changes", "parents", "right_children", "split_conditions", "split_indices"),
    *("split_type", "sum_hessian", "tree_param"),
}
# Methods that change a booster.
_CHANGES = ("update", "boost", "load_model", "load_config", "set_param", "__setstate__")
_UNREADABLE = (LookupError, ValueError, TypeError, AttributeError, struct.error)
# Reading the data of a DMatrix temporarily takes 8 bytes a value.
_MAX_VALUES = 1 << 25


def forest_of(document: Any, start: NDArray[numpy.float64], rounds: tuple[int, int]) -> Forest:
    """Return the trees of some boosting rounds of a model, from the parsed UBJSON of `Booster.save_raw("ubj")`.

    start: the base score as a margin, [outputs]. Raises UnsupportedModelError.
    """
    import numpy as np  # noqa: PLC0415

    try:
        _first_tree(document)
        learner = document["learner"]
        model = learner["gradient_booster"]["model"]
        first = model["iteration_indptr"]
        trees = model["trees"][first[rounds[0]] : first[rounds[1]]]
        outputs_of = np.array(model["tree_info"][first[rounds[0]] : first[rounds[1]]], np.int32)
        if len(model.get("cats", {}).get("enc", ())):
            raise UnsupportedModelError("an XGBoost model that encodes categories")
        columns = [
            np.concatenate([tree[name] for tree in trees])
            for name in ("left_children", "right_children", "split_indices", "split_conditions", "split_type")
        ]
    except _UNREADABLE as error:
        raise UnsupportedModelError(f"an unreadable XGBoost model: {error!r}") from error
    left, right, feature, condition, kind = columns
    if kind.any():
        raise UnsupportedModelError("categorical splits in XGBoost")
    counts = np.array([len(tree["left_children"]) for tree in trees])
    roots = np.cumsum(counts) - counts
    offset = np.repeat(roots, counts)
    condition = condition.astype(np.float64)
    return forest_of_nodes(
        features=int(learner["learner_model_param"]["num_feature"]),
        roots=roots,
        outputs_of=outputs_of,
        feature=feature,
        threshold=np.ceil(condition) - 1,  # XGBoost goes left if the value is less
        left=np.where(left < 0, -1, left + offset),
        right=right + offset,
        values=condition,
        start=start,
        single=True,
    )


def _without_splits(xgboost: Any, document: Any) -> Any:
    """Return a booster with the same objective, for data of one column, whose only tree is a leaf of 0.

    Without any tree, XGBoost would not convert the base score to a margin.
    """
    learner = dict(document["learner"])
    booster = learner["gradient_booster"]
    tree: dict[str, Any] = {
        name: value if isinstance(value, (int, dict)) else value[:1] for name, value in _first_tree(document).items()
    }
    tree.update(left_children=[-1], right_children=[-1], split_conditions=[0.0], split_indices=[0], id=0)
    tree["tree_param"] = dict(tree["tree_param"], num_nodes="1", num_feature="1", num_deleted="0")
    model = dict(booster["model"], trees=[tree], tree_info=[0], iteration_indptr=[0, 1])
    model["gbtree_model_param"] = dict(model["gbtree_model_param"], num_trees="1", num_parallel_tree="1")
    learner.update(
        attributes={},
        feature_names=[],
        feature_types=[],
        gradient_booster=dict(booster, model=model),
        learner_model_param=dict(learner["learner_model_param"], num_feature="1"),
    )
    text = json.dumps(dict(document, learner=learner), default=lambda array: array.tolist())
    return xgboost.Booster(model_file=bytearray(text.encode()))


def _first_tree(document: Any) -> Any:
    """Return the first tree of a model with a known layout, because XGBoost may crash on an invalid model.

    Raises UnsupportedModelError for other layouts.
    """
    booster = document["learner"]["gradient_booster"]
    if booster["name"] != "gbtree" or not booster["model"]["trees"]:
        raise UnsupportedModelError(f"the XGBoost booster {booster['name']}, which is not a sum of trees")
    for tree in booster["model"]["trees"]:
        if tree.keys() != _TREE or tree["tree_param"]["size_leaf_vector"] not in ("0", "1"):
            raise UnsupportedModelError("XGBoost trees with several values in a leaf, or with an unknown layout")
    return booster["model"]["trees"][0]


class _Model:
    """The data of a booster for predictions, until it changes."""

    def __init__(self, xgboost: Any, booster: Any, predict: Callable[..., Any]) -> None:
        self.features: int = booster.num_features()
        self.rounds: int = booster.num_boosted_rounds()
        self.plain = json.loads(booster.save_config())["learner"]["objective"]["name"] in _PLAIN
        self.content: bytes | None = bytes(booster.save_raw("ubj"))
        self._digest = blake2b(self.content, digest_size=32).digest()
        self._parts: set[tuple[int, int]] = set()
        self._predict_original = predict  # XGBoost's own inplace_predict
        self._xgboost, self._booster, self._empty = xgboost, weakref.ref(booster), None

    def part(self, rounds: Any) -> tuple[int, int] | None:
        """Return the first round and the one after the last, or None if only XGBoost can predict with them."""
        begin, end = int(rounds[0]), int(rounds[1]) or self.rounds
        if not 0 <= begin < end <= self.rounds or (len(self._parts) >= MAX_PARTS and (begin, end) not in self._parts):
            return None
        self._parts.add((begin, end))
        return begin, end

    def fingerprint(self, rounds: tuple[int, int]) -> bytes:
        """Return 32 bytes that identify some rounds of this model."""
        return blake2b(f"xgboost {rounds}".encode(), key=self._digest, digest_size=32).digest()

    def forest(self, rounds: tuple[int, int]) -> Forest:
        """Return the trees of some rounds. Raises UnsupportedModelError."""
        import numpy as np  # noqa: PLC0415

        document = self._document()
        try:
            empty = self._without_splits(document)
            start = self._predict_original(empty, np.zeros((1, 1), np.float32), predict_type="margin")
        except (*_UNREADABLE, self._xgboost.core.XGBoostError) as error:
            raise UnsupportedModelError(f"an unreadable XGBoost model: {error!r}") from error
        return forest_of(document, start.ravel().astype(np.float64), rounds)

    def transform(self, margins: NDArray[numpy.float32]) -> Any:
        """Transform margins [rows, outputs] by the objective."""
        import numpy as np  # noqa: PLC0415

        empty = self._without_splits(None)
        return self._predict_original(empty, np.zeros((len(margins), 1), np.float32), base_margin=margins)

    def _document(self) -> Any:
        booster: Any = self._booster()
        try:
            return ubjson.loads(self.content or bytes(booster.save_raw("ubj")))
        except _UNREADABLE as error:
            raise UnsupportedModelError(f"an unreadable XGBoost model: {error!r}") from error

    def _without_splits(self, document: Any) -> Any:
        if self._empty is None:
            self._empty = _without_splits(self._xgboost, document or self._document())
        return self._empty


class Patch(PatchedMethods):
    """XGBoost with some methods of its boosters replaced."""

    def __init__(self, xgboost: Any, store: Store) -> None:
        super().__init__(store)
        self._xgboost, self._store = xgboost, store
        self._models: WeakCache[_Model] = WeakCache()
        self._watched: set[int] = set()
        owner = xgboost.Booster
        self._predict_original = owner.inplace_predict
        self.intercept(owner, "inplace_predict", ("data", "iteration_range", "predict_type"), self._inplace_predict)
        if hasattr(xgboost.DMatrix, "num_nonmissing"):
            self.intercept(owner, "predict", ("data", "iteration_range", "output_margin"), self._of_matrix, head=_head)
        for name in _CHANGES:
            self.around(owner, name, after=self._models.forget)
        # A model in training changes too often to compile it for each evaluation of its metrics.
        self.around(
            owner,
            "eval_set",
            before=lambda booster: self._watched.add(id(booster)),
            after=lambda booster: self._watched.discard(id(booster)),
        )

    def prepare(self, model: Any) -> None:
        """Compile a Booster or a fitted XGBRegressor, XGBClassifier or XGBRanker. Raises UnsupportedModelError."""
        rounds = (0, 0)
        booster = model
        if not isinstance(model, self._xgboost.Booster):
            booster, rounds = model.get_booster(), model._get_iteration_range(None)
        compiled = self._model_of(booster)
        part = compiled.part(rounds)
        if part is not None:
            self._store.evaluator(compiled.fingerprint(part), lambda: compiled.forest(part))

    def _model_of(self, booster: Any) -> _Model:
        return self._models.get(booster) or self._models.put(
            booster, _Model(self._xgboost, booster, self._predict_original)
        )

    def _inplace_predict(self, booster: Any, data: Any, iteration_range: Any, predict_type: Any) -> Any:
        names, trained = columns_of(data), booster.feature_names
        if predict_type not in ("value", "margin"):
            return None
        if names is not None and (
            [str(name) for name in names] != trained if trained else len(set(names)) < len(names)
        ):
            return None
        return self._predicted(booster, data, iteration_range, predict_type == "margin")

    def _of_matrix(self, booster: Any, data: Any, iteration_range: Any, output_margin: Any) -> Any:
        if type(data) is not self._xgboost.DMatrix or id(booster) in self._watched:
            return None
        if booster.feature_names not in (None, data.feature_names):
            return None
        values = _values(data)
        return None if values is None else self._predicted(booster, values, iteration_range, output_margin)

    def _predicted(self, booster: Any, data: Any, rounds: Any, margin: Any) -> Any:
        import numpy as np  # noqa: PLC0415

        model = self._model_of(booster)
        part = model.part(rounds)
        if part is None:
            return None
        raw_sums = sums(self._store, data, model.features, model.fingerprint(part), lambda: model.forest(part))
        model.content = None
        if raw_sums is None:
            return None
        margins = np.ascontiguousarray(raw_sums[:, 0] if raw_sums.shape[1] == 1 else raw_sums)
        return margins if margin or model.plain else model.transform(margins)


def patch(xgboost: Any, store: Store) -> Patch:
    """Let boosters predict with compiled trees of `store`; `undo` of the result restores XGBoost's own methods."""
    return Patch(xgboost, store)


def _head(data: Any) -> Any:
    """Return the first rows of a DMatrix; slicing drops its column names."""
    part = data.slice(list(range(min(HEAD_ROWS, data.num_row()))))
    part.feature_names = data.feature_names
    part.feature_types = data.feature_types
    return part


def _values(data: Any) -> NDArray[numpy.float32] | None:
    """Return the values of a DMatrix [rows, columns], or None if some are missing or categories."""
    rows, columns = data.num_row(), data.num_col()
    if rows * columns > _MAX_VALUES or data.num_nonmissing() != rows * columns or data.get_base_margin().size:
        return None
    if "c" in (data.feature_types or ()):
        return None
    values: NDArray[numpy.float32] = data.get_data().data.reshape(rows, columns)
    return values
