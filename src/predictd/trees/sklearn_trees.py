"""scikit-learn: forests, single trees, gradient boosting and histogram gradient boosting.

All add float64 values in the order of the trees where one thread does it, so predictions are equal bit for bit; with
`n_jobs` greater than 1 scikit-learn's forests add in the order in which threads finish, compiled trees in order.
scikit-learn itself handles: missing values, categories, multi-output classification, sparse data, column names that
differ from the training, staged predictions, and boosting that starts with another estimator's predictions.

A model that gets new trees is compiled again; in-place changes of its arrays after the first prediction are not
detected.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from .errors import UnsupportedModelError
from .nodes import forest_of_nodes
from .patching import PatchedMethods, WeakCache, columns_of, sums

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from .forest import Forest
    from .store import Store

_TREES = {"DecisionTreeRegressor", "ExtraTreeRegressor", "DecisionTreeClassifier", "ExtraTreeClassifier"}
# Strategies that predict the same for every row.
_CONSTANT = {"mean", "median", "quantile", "constant", "prior", "most_frequent"}


@dataclass(frozen=True, kw_only=True)
class Trees:
    """Trees in scikit-learn's layout: nodes of all trees in a row, children counted within a tree, < 0 at leaves."""

    features: int
    counts: NDArray[Any]
    """[trees] The number of nodes of each tree."""
    feature: NDArray[Any]
    threshold: NDArray[Any]
    left: NDArray[Any]
    right: NDArray[Any]
    values: NDArray[Any]
    """[nodes] with outputs_of, else [nodes, outputs]."""
    start: NDArray[numpy.float64]
    outputs_of: NDArray[numpy.int32] | None = None

    def fingerprint(self) -> bytes:
        """Return 32 bytes that identify these trees."""
        digest = blake2b(f"scikit-learn {self.features}".encode(), digest_size=32)
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
            digest.update(f"{part.dtype} {part.shape}".encode())
            digest.update(part.tobytes())
        return digest.digest()

    def forest(self) -> Forest:
        """Return the trees as a forest. Raises UnsupportedModelError."""
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
    """Return the trees of a forest, whose sums are to be divided by their number. Raises UnsupportedModelError."""
    import numpy as np  # noqa: PLC0415

    return _trees(model.estimators_, model.n_features_in_, start=0.0 * np.ones(1))


def trees_of_tree(model: Any) -> Trees:
    """Return the tree of a decision tree. Raises UnsupportedModelError."""
    import numpy as np  # noqa: PLC0415

    return _trees([model], model.n_features_in_, start=np.array([-0.0]))  # -0.0 + x is x for every x, -0.0 too


def trees_of_boosting(model: Any) -> Trees:
    "Return the trees of a GradientBoosting model, starting with its initial prediction. Raises UnsupportedModelError."
    import numpy as np  # noqa: PLC0415

    if platform.machine().lower() not in ("x86_64", "amd64"):
        raise UnsupportedModelError("gradient boosting on a processor with fused multiply-add")
    initial = model.init_
    if initial != "zero" and not (type(initial).__module__ == "sklearn.dummy" and initial.strategy in _CONSTANT):
        raise UnsupportedModelError("gradient boosting that starts with another estimator's predictions")
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
    """Return the trees of a HistGradientBoosting model. Raises UnsupportedModelError."""
    import numpy as np  # noqa: PLC0415

    predictors = [predictor for stage in model._predictors for predictor in stage]
    baseline = np.asarray(model._baseline_prediction)
    if baseline.dtype != np.float64 or getattr(model, "is_categorical_", None) is not None or not predictors:
        raise UnsupportedModelError("histogram gradient boosting with categories")
    nodes = np.concatenate([predictor.nodes for predictor in predictors])
    if nodes["is_categorical"].any():
        raise UnsupportedModelError("histogram gradient boosting with categories")
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
    """Return fitted decision trees; `start` is that of each output."""
    import numpy as np  # noqa: PLC0415

    if any(
        type(estimator).__module__ != "sklearn.tree._classes" or type(estimator).__name__ not in _TREES
        for estimator in estimators
    ):
        raise UnsupportedModelError("a scikit-learn ensemble of estimators other than trees")
    trees = [estimator.tree_ for estimator in estimators]
    shape = trees[0].value.shape[1:]
    if any(tree.value.shape[1:] != shape for tree in trees) or min(shape) != 1:
        raise UnsupportedModelError("scikit-learn trees for multi-output classification")
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


class Patch(PatchedMethods):
    """scikit-learn with some methods of its estimators replaced, in the modules that are already imported."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        # Trees store probabilities since 1.3, and row counts before.
        version = sys.modules["sklearn"].__version__.split(".")
        self._probabilities = (int(version[0]), int(version[1])) >= (1, 3)
        self._store = store
        self._fingerprints: WeakCache[tuple[list[Any], bytes, str]] = WeakCache()
        for module, names in _METHODS.items():
            for owner, method, own in names if module in sys.modules else ():
                # A forest with several threads adds in the order in which they finish.
                tolerance = 1e-6 if owner.startswith("Forest") else 0.0
                kind, replacement = getattr(sys.modules[module], owner), getattr(self, own)
                self.intercept(kind, method, ("X", "n_threads"), replacement, tolerance=tolerance)

    def prepare(self, model: Any) -> None:
        """Compile a fitted estimator. Raises UnsupportedModelError."""
        fingerprint, trees = self._fingerprint(model)
        self._store.evaluator(fingerprint, lambda: _read(model, trees).forest())

    def _fingerprint(self, model: Any) -> tuple[bytes, Trees | None]:
        """Return the fingerprint of a model's current trees, and the trees if they were read. Raises
        UnsupportedModelError.
        """
        parts = _parts_of(model)
        entry, trees = self._fingerprints.get(model), None
        if entry is None or not _are_identical(entry[0], parts):
            try:
                trees = trees_of(model)
                entry = parts, trees.fingerprint(), ""
            except UnsupportedModelError as error:
                entry = parts, b"", str(error)
            self._fingerprints.put(model, entry)
        if entry[2]:
            raise UnsupportedModelError(entry[2])
        return entry[1], trees

    def _sums(self, model: Any, data: Any) -> Any:
        """Return the sums [rows, outputs] of a model, or None if scikit-learn must predict."""
        if getattr(model, "verbose", 0) or getattr(model, "_in_fit", False) or not _same_columns(model, data):
            return None
        try:
            fingerprint, trees = self._fingerprint(model)
        except UnsupportedModelError:
            return None
        return sums(self._store, data, model.n_features_in_, fingerprint, lambda: _read(model, trees).forest())

    def _mean(self, model: Any, X: Any) -> Any:
        mean = self._sums(model, X)
        if mean is not None:
            mean /= len(model.estimators_)
        return _rows(mean)

    def _mean_probabilities(self, model: Any, X: Any) -> Any:
        mean = _ordered(self._sums(model, X)) if self._of_one_target(model) else None
        if mean is not None:
            mean /= len(model.estimators_)
        return mean

    def _probabilities_of_tree(self, model: Any, X: Any) -> Any:
        return _ordered(self._sums(model, X)) if self._of_one_target(model) else None

    def _of_tree(self, model: Any, X: Any) -> Any:
        if not hasattr(model, "n_classes_"):
            return self._flat(model, X)
        probabilities = self._probabilities_of_tree(model, X)
        return None if probabilities is None else model.classes_.take(probabilities.argmax(axis=1), axis=0)

    def _flat(self, model: Any, X: Any) -> Any:
        return _rows(self._sums(model, X))

    def _raw(self, model: Any, X: Any, n_threads: Any = None) -> Any:
        return self._sums(model, X)  # in Fortran order, as in scikit-learn

    def _of_one_target(self, model: Any) -> bool:
        return self._probabilities and getattr(model, "n_outputs_", 0) == 1


# Module -> class, its method, and the method of Patch that is tried first.
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
    """Let estimators predict with compiled trees of `store`; `undo` of the result restores their own methods.

    `sklearn` is any of its modules: those with trees are looked up among the imported modules.
    """
    return Patch(store)


def trees_of(model: Any) -> Trees:
    """Return the trees of a fitted estimator of any supported kind. Raises UnsupportedModelError."""
    if hasattr(model, "_predictors"):
        return trees_of_histograms(model)
    if hasattr(model, "init_"):
        return trees_of_boosting(model)
    return trees_of_forest(model) if hasattr(model, "estimators_") else trees_of_tree(model)


def _are_identical(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(left is right for left, right in zip(first, second, strict=True))


def _read(model: Any, trees: Trees | None) -> Trees:
    return trees_of(model) if trees is None else trees


def _parts_of(model: Any) -> list[Any]:
    """Return everything that predictions depend on; refitting a model replaces it. Raises UnsupportedModelError."""
    if getattr(model, "_predictors", None):
        return [model._baseline_prediction, *(estimator for stage in model._predictors for estimator in stage)]
    if hasattr(model, "tree_"):
        return [model.tree_]
    estimators = getattr(model, "estimators_", None)
    if estimators is None or not len(estimators) or not hasattr(model, "n_features_in_"):
        raise UnsupportedModelError(f"{type(model).__name__} is not fitted, or has no trees")
    if hasattr(model, "init_"):
        return [model.init_, model.learning_rate, *(estimator.tree_ for estimator in estimators.flat)]
    return [getattr(estimator, "tree_", None) for estimator in estimators]


def _same_columns(model: Any, data: Any) -> bool:
    """Return whether scikit-learn accepts these columns without an error or a warning."""
    columns, trained = columns_of(data), getattr(model, "feature_names_in_", None)
    if trained is not None:
        return columns is not None and columns == list(trained)
    return columns is None or not any(isinstance(name, str) for name in columns)


def _ordered(values: NDArray[numpy.float64] | None) -> NDArray[numpy.float64] | None:
    """Return the array in C order."""
    import numpy as np  # noqa: PLC0415

    return None if values is None else np.array(values, order="C")


def _rows(values: NDArray[numpy.float64] | None) -> NDArray[numpy.float64] | None:
    """Return [rows] for one output, else [rows, outputs]."""
    return values[:, 0] if values is not None and values.shape[1] == 1 else _ordered(values)
