"""scikit-learn: forests, single trees, gradient boosting and histogram gradient boosting.

All add float64 values in the order of the trees where one thread does it, so predictions are equal bit for bit; with
`n_jobs` greater than 1 scikit-learn's forests add in the order in which threads finish, here in that of one thread.
Left to scikit-learn: missing values, categories, several targets that are classes, sparse data, names of columns
that are not those of the training, staged predictions, and boosting that begins with another estimator's predictions.

A model that gets other trees is read again; one whose trees' arrays are written to after its first prediction is not.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from .errors import UnsupportedModel
from .nodes import forest_of_nodes
from .patching import Known, Replaced, columns_of, sums

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from .forest import Forest
    from .store import Store

_TREES = {"DecisionTreeRegressor", "ExtraTreeRegressor", "DecisionTreeClassifier", "ExtraTreeClassifier"}
# Guesses that are the same for every row.
_CONSTANT = {"mean", "median", "quantile", "constant", "prior", "most_frequent"}


@dataclass(frozen=True, kw_only=True)
class Trees:
    """Trees as scikit-learn has them: nodes of all trees in a row, children counted within a tree, < 0 at leaves."""

    features: int
    counts: NDArray[Any]
    """[trees] How many nodes each has."""
    feature: NDArray[Any]
    threshold: NDArray[Any]
    left: NDArray[Any]
    right: NDArray[Any]
    values: NDArray[Any]
    """[nodes] with outputs_of, else [nodes, outputs]."""
    start: NDArray[numpy.float64]
    outputs_of: NDArray[numpy.int32] | None = None

    def fingerprint(self) -> bytes:
        """32 bytes that tell these trees from others."""
        found = blake2b(f"scikit-learn {self.features}".encode(), digest_size=32)
        outputs_of = [] if self.outputs_of is None else [self.outputs_of]
        for part in (
            self.counts,
            self.feature,
            self.threshold,
            self.left,
            self.right,
            self.values,
            self.start,
            *outputs_of,
        ):
            found.update(f"{part.dtype} {part.shape}".encode())
            found.update(part.tobytes())
        return found.digest()

    def forest(self) -> Forest:
        """The same as a forest. Raises UnsupportedModel."""
        import numpy as np  # noqa: PLC0415

        roots = np.cumsum(self.counts) - self.counts
        offset = np.repeat(roots, self.counts)
        return forest_of_nodes(
            features=self.features,
            roots=roots,
            feature=self.feature,
            threshold=self.threshold,
            left=np.where(self.left < 0, -1, self.left + offset),
            right=self.right + offset,
            values=self.values,
            start=self.start,
            outputs_of=self.outputs_of,
        )


def trees_of_forest(model: Any) -> Trees:
    """The trees of a forest, whose sums are to be divided by their number. Raises UnsupportedModel."""
    import numpy as np  # noqa: PLC0415

    return _trees(model.estimators_, model.n_features_in_, start=0.0 * np.ones(1))


def trees_of_tree(model: Any) -> Trees:
    """The tree of a decision tree. Raises UnsupportedModel."""
    import numpy as np  # noqa: PLC0415

    return _trees([model], model.n_features_in_, start=np.array([-0.0]))  # -0.0 + x is x for every x, -0.0 too


def trees_of_boosting(model: Any) -> Trees:
    """The trees of a GradientBoosting model, beginning with its first guess. Raises UnsupportedModel."""
    import numpy as np  # noqa: PLC0415

    if platform.machine().lower() not in ("x86_64", "amd64"):
        raise UnsupportedModel("gradient boosting on a processor that may multiply and add in one step")
    guess = model.init_
    if guess != "zero" and not (type(guess).__module__ == "sklearn.dummy" and guess.strategy in _CONSTANT):
        raise UnsupportedModel("gradient boosting that begins with another estimator's predictions")
    trees = _trees(model.estimators_.ravel(), model.n_features_in_, start=np.zeros(1))
    outputs = model.estimators_.shape[1]
    start = model._raw_predict_init(np.zeros((1, trees.features), np.float32))[0]
    return Trees(
        features=trees.features,
        counts=trees.counts,
        feature=trees.feature,
        threshold=trees.threshold,
        left=trees.left,
        right=trees.right,
        values=model.learning_rate * trees.values[:, 0],
        start=np.array(start, np.float64),
        outputs_of=np.tile(np.arange(outputs, dtype=np.int32), len(trees.counts) // outputs),
    )


def trees_of_histograms(model: Any) -> Trees:
    """The trees of a HistGradientBoosting model. Raises UnsupportedModel."""
    import numpy as np  # noqa: PLC0415

    predictors = [predictor for stage in model._predictors for predictor in stage]
    baseline = np.asarray(model._baseline_prediction)
    if baseline.dtype != np.float64 or getattr(model, "is_categorical_", None) is not None or not predictors:
        raise UnsupportedModel("histogram gradient boosting with categories")
    nodes = np.concatenate([predictor.nodes for predictor in predictors])
    if nodes["is_categorical"].any():
        raise UnsupportedModel("histogram gradient boosting with categories")
    outputs = model.n_trees_per_iteration_
    leaf = nodes["is_leaf"] != 0
    return Trees(
        features=model.n_features_in_,
        counts=np.array([len(predictor.nodes) for predictor in predictors]),
        feature=nodes["feature_idx"],
        threshold=nodes["num_threshold"],
        left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
        right=nodes["right"].astype(np.int64),
        values=nodes["value"],
        start=np.broadcast_to(baseline.ravel(), outputs).copy(),
        outputs_of=np.tile(np.arange(outputs, dtype=np.int32), len(predictors) // outputs),
    )


def _trees(estimators: Any, features: int, start: NDArray[numpy.float64]) -> Trees:
    """Fitted decision trees; `start` is that of each output."""
    import numpy as np  # noqa: PLC0415

    if any(type(of).__module__ != "sklearn.tree._classes" or type(of).__name__ not in _TREES for of in estimators):
        raise UnsupportedModel("an ensemble of scikit-learn of other estimators than its own trees")
    trees = [of.tree_ for of in estimators]
    shape = trees[0].value.shape[1:]
    if any(tree.value.shape[1:] != shape for tree in trees) or min(shape) != 1:
        raise UnsupportedModel("trees of scikit-learn with several targets that are classes")
    outputs = max(shape)
    return Trees(
        features=features,
        counts=np.array([tree.node_count for tree in trees]),
        feature=np.concatenate([tree.feature for tree in trees]),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        left=np.concatenate([tree.children_left for tree in trees]),
        right=np.concatenate([tree.children_right for tree in trees]),
        values=np.concatenate([tree.value.reshape(-1, outputs) for tree in trees]),
        start=np.repeat(start, outputs),
    )


class Patch(Replaced):
    """scikit-learn with some of its estimators' methods replaced, of the modules that are imported already."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        # Trees keep probabilities since 1.3, before they kept numbers of rows.
        version = sys.modules["sklearn"].__version__.split(".")
        self._probabilities = (int(version[0]), int(version[1])) >= (1, 3)
        self._store = store
        self._known: Known[tuple[list[Any], bytes, str]] = Known()
        for module, names in _METHODS.items():
            for owner, method, own in names if module in sys.modules else ():
                # A forest with several threads adds in the order in which they finish.
                tolerance = 1e-6 if owner.startswith("Forest") else 0.0
                kind, answer = getattr(sys.modules[module], owner), getattr(self, own)
                self.answer(kind, method, ("X", "n_threads"), answer, tolerance=tolerance)

    def prepare(self, model: Any) -> None:
        """Compile a fitted estimator. Raises UnsupportedModel."""
        fingerprint, trees = self._fingerprint(model)
        self._store.evaluator(fingerprint, lambda: _read(model, trees).forest())

    def _fingerprint(self, model: Any) -> tuple[bytes, Trees | None]:
        """That of the trees a model has now, and the trees if they were read for it. Raises UnsupportedModel."""
        parts = _parts_of(model)
        known, trees = self._known.get(model), None
        if known is None or not _same(known[0], parts):
            try:
                trees = trees_of(model)
                known = parts, trees.fingerprint(), ""
            except UnsupportedModel as error:
                known = parts, b"", str(error)
            self._known.put(model, known)
        if known[2]:
            raise UnsupportedModel(known[2])
        return known[1], trees

    def _sums(self, model: Any, data: Any) -> Any:
        """The sums [rows, outputs] of a model, None if scikit-learn is to be asked."""
        if getattr(model, "verbose", 0) or getattr(model, "_in_fit", False) or not _same_columns(model, data):
            return None
        try:
            fingerprint, trees = self._fingerprint(model)
        except UnsupportedModel:
            return None
        return sums(self._store, data, model.n_features_in_, fingerprint, lambda: _read(model, trees).forest())

    def _mean(self, model: Any, X: Any) -> Any:
        found = self._sums(model, X)
        if found is not None:
            found /= len(model.estimators_)
        return _rows(found)

    def _mean_probabilities(self, model: Any, X: Any) -> Any:
        found = _ordered(self._sums(model, X)) if self._of_one_target(model) else None
        if found is not None:
            found /= len(model.estimators_)
        return found

    def _probabilities_of_tree(self, model: Any, X: Any) -> Any:
        return _ordered(self._sums(model, X)) if self._of_one_target(model) else None

    def _of_tree(self, model: Any, X: Any) -> Any:
        if not hasattr(model, "n_classes_"):
            return self._flat(model, X)
        found = self._probabilities_of_tree(model, X)
        return None if found is None else model.classes_.take(found.argmax(axis=1), axis=0)

    def _flat(self, model: Any, X: Any) -> Any:
        return _rows(self._sums(model, X))

    def _raw(self, model: Any, X: Any, n_threads: Any = None) -> Any:
        return self._sums(model, X)  # in Fortran order, as scikit-learn's own

    def _of_one_target(self, model: Any) -> bool:
        return self._probabilities and getattr(model, "n_outputs_", 0) == 1


# Module -> class, its method, and the method of Patch that is asked first.
_METHODS = {
    "sklearn.tree._classes": (
        ("BaseDecisionTree", "predict", "_of_tree"),
        ("DecisionTreeClassifier", "predict_proba", "_probabilities_of_tree"),
    ),
    "sklearn.ensemble._forest": (
        ("ForestRegressor", "predict", "_mean"),
        ("ForestClassifier", "predict_proba", "_mean_probabilities"),
    ),
    "sklearn.ensemble._gb": (
        ("GradientBoostingRegressor", "predict", "_flat"),
        ("GradientBoostingClassifier", "decision_function", "_flat"),
    ),
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting": (
        ("BaseHistGradientBoosting", "_raw_predict", "_raw"),
    ),
}


def patch(sklearn: Any, store: Store) -> Patch:
    """Let estimators answer by compiled trees of `store`; `undo` of what is returned puts their own methods back.

    `sklearn` is any of its modules: those with trees are looked up among the imported ones.
    """
    return Patch(store)


def trees_of(model: Any) -> Trees:
    """The trees of a fitted estimator of any kind that is known here. Raises UnsupportedModel."""
    if hasattr(model, "_predictors"):
        return trees_of_histograms(model)
    if hasattr(model, "init_"):
        return trees_of_boosting(model)
    return trees_of_forest(model) if hasattr(model, "estimators_") else trees_of_tree(model)


def _same(some: list[Any], others: list[Any]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))


def _read(model: Any, trees: Trees | None) -> Trees:
    return trees_of(model) if trees is None else trees


def _parts_of(model: Any) -> list[Any]:
    """Everything that predictions depend on; a model that is fitted again has others. Raises UnsupportedModel."""
    if getattr(model, "_predictors", None):
        return [model._baseline_prediction, *(of for stage in model._predictors for of in stage)]
    if hasattr(model, "tree_"):
        return [model.tree_]
    estimators = getattr(model, "estimators_", None)
    if estimators is None or not len(estimators) or not hasattr(model, "n_features_in_"):
        raise UnsupportedModel(f"{type(model).__name__} is not fitted, or has no trees of its own")
    if hasattr(model, "init_"):
        return [model.init_, model.learning_rate, *(of.tree_ for of in estimators.flat)]
    return [getattr(of, "tree_", None) for of in estimators]


def _same_columns(model: Any, data: Any) -> bool:
    """Whether scikit-learn would take this data as the training's without an error or a warning."""
    columns, trained = columns_of(data), getattr(model, "feature_names_in_", None)
    if trained is not None:
        return columns is not None and columns == list(trained)
    return columns is None or not any(isinstance(name, str) for name in columns)


def _ordered(found: NDArray[numpy.float64] | None) -> NDArray[numpy.float64] | None:
    """The same, a row's values side by side."""
    import numpy as np  # noqa: PLC0415

    return None if found is None else np.array(found, order="C")


def _rows(found: NDArray[numpy.float64] | None) -> NDArray[numpy.float64] | None:
    """[rows] of one output, else [rows, outputs]."""
    return found[:, 0] if found is not None and found.shape[1] == 1 else _ordered(found)
