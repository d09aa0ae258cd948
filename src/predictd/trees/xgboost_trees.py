"""XGBoost: `Booster.inplace_predict` and `Booster.predict`, which `XGBRegressor` and its sisters call.

XGBoost adds float32 leaves to the float32 base score in the order of the trees, so sums are equal bit for bit. What its
objective makes of a sum (a probability, a class) is computed by XGBoost, with a booster that has the same objective and
no splits. Left to XGBoost: dart and gblinear, categories, trees with vectors in their leaves, a base margin,
contributions, leaves, `strict_shape`, another `missing` than NaN, and sparse or other data than the evaluator reads.
"""

from __future__ import annotations

import json
import struct
import weakref
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from . import ubjson
from .errors import UnsupportedModel
from .nodes import forest_of_nodes
from .patching import HEAD_ROWS, MOST_PARTS, Known, Replaced, columns_of, sums

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy
    from numpy.typing import NDArray

    from .forest import Forest
    from .store import Store

# Objectives that answer with the sum itself.
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
# What changes a booster.
_CHANGES = ("update", "boost", "load_model", "load_config", "set_param", "__setstate__")
_UNREADABLE = (LookupError, ValueError, TypeError, AttributeError, struct.error)
# Taking the data out of a DMatrix costs 8 bytes a value for a moment.
_MOST_VALUES = 1 << 25


def forest_of(document: Any, start: NDArray[numpy.float64], rounds: tuple[int, int]) -> Forest:
    """The trees of some boosting rounds of a model, which is the UBJSON of `Booster.save_raw("ubj")`, read.

    start: the base score as a margin, [outputs]. Raises UnsupportedModel.
    """
    import numpy as np  # noqa: PLC0415

    try:
        _a_tree(document)
        learner = document["learner"]
        model = learner["gradient_booster"]["model"]
        first = model["iteration_indptr"]
        trees = model["trees"][first[rounds[0]] : first[rounds[1]]]
        outputs_of = np.array(model["tree_info"][first[rounds[0]] : first[rounds[1]]], np.int32)
        if len(model.get("cats", {}).get("enc", ())):
            raise UnsupportedModel("a model of XGBoost that encodes categories")
        columns = [
            np.concatenate([tree[name] for tree in trees])
            for name in ("left_children", "right_children", "split_indices", "split_conditions", "split_type")
        ]
    except _UNREADABLE as error:
        raise UnsupportedModel(f"a model of XGBoost that can't be read: {error!r}") from error
    left, right, feature, condition, kind = columns
    if kind.any():
        raise UnsupportedModel("categorical splits of XGBoost")
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
    """A booster of the same objective, for data of one column, whose only tree is a leaf of 0.

    Without any tree, XGBoost would not turn the base score into a margin.
    """
    learner = dict(document["learner"])
    booster = learner["gradient_booster"]
    tree: dict[str, Any] = {
        name: value if isinstance(value, (int, dict)) else value[:1] for name, value in _a_tree(document).items()
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


def _a_tree(document: Any) -> Any:
    """The first tree of a model whose layout is known, because XGBoost may end the process for one it can't load.

    Raises UnsupportedModel for another.
    """
    booster = document["learner"]["gradient_booster"]
    if booster["name"] != "gbtree" or not booster["model"]["trees"]:
        raise UnsupportedModel(f"XGBoost's booster {booster['name']} is no sum of trees")
    for tree in booster["model"]["trees"]:
        if tree.keys() != _TREE or tree["tree_param"]["size_leaf_vector"] not in ("0", "1"):
            raise UnsupportedModel("trees of XGBoost with several values in a leaf, or of an unknown layout")
    return booster["model"]["trees"][0]


class _Model:
    """What is asked of a booster at each prediction, until it changes."""

    def __init__(self, xgboost: Any, booster: Any, ask: Callable[..., Any]) -> None:
        self.features: int = booster.num_features()
        self.rounds: int = booster.num_boosted_rounds()
        self.plain = json.loads(booster.save_config())["learner"]["objective"]["name"] in _PLAIN
        self.content: bytes | None = bytes(booster.save_raw("ubj"))
        self._digest = blake2b(self.content, digest_size=32).digest()
        self._parts: set[tuple[int, int]] = set()
        self._ask = ask  # XGBoost's own inplace_predict
        self._xgboost, self._booster, self._empty = xgboost, weakref.ref(booster), None

    def part(self, rounds: Any) -> tuple[int, int] | None:
        """The first round and the one after the last, None where only XGBoost is to be asked for these."""
        begin, end = int(rounds[0]), int(rounds[1]) or self.rounds
        if not 0 <= begin < end <= self.rounds or (len(self._parts) >= MOST_PARTS and (begin, end) not in self._parts):
            return None
        self._parts.add((begin, end))
        return begin, end

    def fingerprint(self, rounds: tuple[int, int]) -> bytes:
        """32 bytes that tell some rounds of this model from others."""
        return blake2b(f"xgboost {rounds}".encode(), key=self._digest, digest_size=32).digest()

    def forest(self, rounds: tuple[int, int]) -> Forest:
        """The trees of some rounds. Raises UnsupportedModel."""
        import numpy as np  # noqa: PLC0415

        document = self._document()
        try:
            empty = self._without_splits(document)
            start = self._ask(empty, np.zeros((1, 1), np.float32), predict_type="margin")
        except (*_UNREADABLE, self._xgboost.core.XGBoostError) as error:
            raise UnsupportedModel(f"a model of XGBoost that can't be read: {error!r}") from error
        return forest_of(document, start.ravel().astype(np.float64), rounds)

    def answer(self, margins: NDArray[numpy.float32]) -> Any:
        """What the objective makes of margins [rows, outputs]."""
        import numpy as np  # noqa: PLC0415

        empty = self._without_splits(None)
        return self._ask(empty, np.zeros((len(margins), 1), np.float32), base_margin=margins)

    def _document(self) -> Any:
        booster: Any = self._booster()
        try:
            return ubjson.loads(self.content or bytes(booster.save_raw("ubj")))
        except _UNREADABLE as error:
            raise UnsupportedModel(f"a model of XGBoost that can't be read: {error!r}") from error

    def _without_splits(self, document: Any) -> Any:
        if self._empty is None:
            self._empty = _without_splits(self._xgboost, document or self._document())
        return self._empty


class Patch(Replaced):
    """XGBoost with some of its boosters' methods replaced."""

    def __init__(self, xgboost: Any, store: Store) -> None:
        super().__init__(store)
        self._xgboost, self._store = xgboost, store
        self._models: Known[_Model] = Known()
        self._watched: set[int] = set()
        owner = xgboost.Booster
        self._ask = owner.inplace_predict
        self.answer(owner, "inplace_predict", ("data", "iteration_range", "predict_type"), self._in_place)
        if hasattr(xgboost.DMatrix, "num_nonmissing"):
            self.answer(owner, "predict", ("data", "iteration_range", "output_margin"), self._of_matrix, head=_head)
        for name in _CHANGES:
            self.around(owner, name, after=self._models.forget)
        # A model in training changes too often to compile it for each look at its metrics.
        self.around(
            owner,
            "eval_set",
            before=lambda booster: self._watched.add(id(booster)),
            after=lambda booster: self._watched.discard(id(booster)),
        )

    def prepare(self, model: Any) -> None:
        """Compile a Booster or a fitted XGBRegressor, XGBClassifier, XGBRanker. Raises UnsupportedModel."""
        rounds = (0, 0)
        booster = model
        if not isinstance(model, self._xgboost.Booster):
            booster, rounds = model.get_booster(), model._get_iteration_range(None)
        known = self._known(booster)
        part = known.part(rounds)
        if part is not None:
            self._store.evaluator(known.fingerprint(part), lambda: known.forest(part))

    def _known(self, booster: Any) -> _Model:
        return self._models.get(booster) or self._models.put(booster, _Model(self._xgboost, booster, self._ask))

    def _in_place(self, booster: Any, data: Any, iteration_range: Any, predict_type: Any) -> Any:
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

        model = self._known(booster)
        part = model.part(rounds)
        if part is None:
            return None
        found = sums(self._store, data, model.features, model.fingerprint(part), lambda: model.forest(part))
        model.content = None
        if found is None:
            return None
        margins = np.ascontiguousarray(found[:, 0] if found.shape[1] == 1 else found)
        return margins if margin or model.plain else model.answer(margins)


def patch(xgboost: Any, store: Store) -> Patch:
    """Let boosters answer by compiled trees of `store`; `undo` of what is returned puts XGBoost's own methods back."""
    return Patch(xgboost, store)


def _head(data: Any) -> Any:
    """The first rows of a DMatrix, which loses the names of its columns by slicing."""
    part = data.slice(list(range(min(HEAD_ROWS, data.num_row()))))
    part.feature_names = data.feature_names
    part.feature_types = data.feature_types
    return part


def _values(data: Any) -> NDArray[numpy.float32] | None:
    """The values of a DMatrix [rows, columns], None where some are missing or categories."""
    rows, columns = data.num_row(), data.num_col()
    if rows * columns > _MOST_VALUES or data.num_nonmissing() != rows * columns or data.get_base_margin().size:
        return None
    if "c" in (data.feature_types or ()):
        return None
    found: NDArray[numpy.float32] = data.get_data().data.reshape(rows, columns)
    return found
