"""The classes that `predictd.wrap` puts into a pickle, by value, so that they run without predictd installed.

It runs on Python 3.10 to 3.13 with numpy and pandas, and imports nothing of predictd.
"""

# ruff: noqa: D102 (calling an object does what its class documents)

import math
from typing import Any

import numpy as np

_BATCH = 8192
_FILL = 0.5


class Predict:
    """A model of one argument: the live features, a DataFrame indexed by id."""

    def __init__(self, options: "dict[str, Any]", members: "list[tuple[str, Any, float]]", manifest: str) -> None:
        self.options = options
        self.members = members
        self.manifest = manifest

    def __call__(self, live_features: Any) -> Any:
        return self.predictions(live_features, None)

    def predictions(self, live_features: Any, live_benchmark_models: Any) -> Any:
        """Return a DataFrame with the index of the live features and the column `prediction`, float64 in 0 to 1."""
        import pandas as pd  # noqa: PLC0415

        options = self.options
        eras = live_features["era"] if "era" in live_features.columns else None
        frame = self.prepared(live_features)
        outputs, weights = [], []
        for name, member, weight in self.members:
            member_output = member(frame, live_features, live_benchmark_models)
            member_output = as_series(member_output, live_features.index, name, options["output"])
            outputs.append(ranked(member_output, eras, "average") if options["rank_members"] else member_output)
            weights.append(weight)
        values = sum(member_output * weight for member_output, weight in zip(outputs, weights)) / sum(weights)  # noqa: B905
        values = pd.Series(values, index=live_features.index, dtype="float64")
        if options["neutralize"]:
            values = ranked(values, eras, "average") if options["rank"] else values
            values = neutralized(values, live_features[options["neutralize"]], eras, options["proportion"])
        if options["benchmark"] is not None:
            values = blended(values, live_benchmark_models, eras, options)
        if options["rank"]:
            values = ranked(values, eras, options["ties"])
        return values.fillna(_FILL).clip(*options["clip"]).to_frame("prediction")

    def prepared(self, live_features: Any) -> Any:
        """Return the features in training order, imputed and scaled as in training."""
        import pandas as pd  # noqa: PLC0415

        features = self.options["features"]
        if features is None:
            return live_features
        missing = [name for name in features if name not in live_features.columns]
        if missing:
            raise KeyError(f"{len(missing)} of {len(features)} features are not in the live features: {missing[:3]}")
        frame = live_features[features]
        for step in self.options["steps"]:
            frame = pd.DataFrame(step(frame), index=live_features.index, columns=features)
        return frame


class PredictWithBenchmarks(Predict):
    """A model of two arguments: the live features and the live benchmark models, both indexed by id."""

    def __call__(self, live_features: Any, live_benchmark_models: Any) -> Any:  # type: ignore[override]
        return self.predictions(live_features, live_benchmark_models)


class Fill:
    """Replaces missing values with a value, or with one for each feature."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __call__(self, frame: Any) -> Any:
        values = np.asarray(frame, dtype="float64")
        return np.where(np.isnan(values), self.values, values)


class Scale:
    """Subtracts the center of each feature and divides by its scale; zero scales count as one."""

    def __init__(self, center: Any, scale: Any) -> None:
        self.center = center
        self.scale = scale

    def __call__(self, frame: Any) -> Any:
        return (np.asarray(frame, dtype="float64") - self.center) / self.scale


class Transform:
    """Applies a fitted transformer with scikit-learn's interface."""

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def __call__(self, frame: Any) -> Any:
        return self.transformer.transform(frame)


class Regressor:
    """A fitted model with a predict method; a classifier predicts the expected class of each output.

    A model trained without names gets an array (`has_names` is false), because names make it warn.
    """

    def __init__(self, model: Any, classes: Any, has_names: bool) -> None:
        self.model = model
        self.classes = classes
        self.has_names = has_names

    def __call__(self, frame: Any, live_features: Any, live_benchmark_models: Any) -> Any:
        frame = frame if self.has_names else frame.to_numpy()
        if self.classes is None:
            return self.model.predict(frame)
        probabilities = self.model.predict_proba(frame)
        if isinstance(self.classes, list):
            return np.stack([expected(np.asarray(p), c) for p, c in zip(probabilities, self.classes)], axis=1)  # noqa: B905
        return expected(np.asarray(probabilities), self.classes)


class XGBoostBooster:
    """A booster of XGBoost's own interface, which takes matrices; only the first rounds predict, or all for 0."""

    def __init__(self, model: Any, rounds: int) -> None:
        self.model = model
        self.rounds = rounds

    def __call__(self, frame: Any, live_features: Any, live_benchmark_models: Any) -> Any:
        import xgboost  # noqa: PLC0415

        has_names = self.model.feature_names is not None
        matrix = xgboost.DMatrix(frame if has_names else frame.to_numpy())
        return self.model.predict(matrix, iteration_range=(0, self.rounds))


class TorchModule:
    """A torch module on the CPU, which gets float32 tensors in batches of rows."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, frame: Any, live_features: Any, live_benchmark_models: Any) -> Any:
        import torch  # noqa: PLC0415

        self.model.eval()
        values = np.ascontiguousarray(frame.to_numpy(dtype="float32"))
        with torch.no_grad():
            parts = [self.model(torch.from_numpy(values[i : i + _BATCH])) for i in range(0, len(values), _BATCH)]
        return np.concatenate([part.numpy() for part in parts])


class KerasModel:
    """A Keras model, which gets float32 arrays."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, frame: Any, live_features: Any, live_benchmark_models: Any) -> Any:
        output = self.model.predict(frame.to_numpy(dtype="float32"), batch_size=_BATCH, verbose=0)
        outputs = list(output.values()) if isinstance(output, dict) else output
        if not isinstance(outputs, (list, tuple)):
            return np.asarray(outputs)
        return np.concatenate([np.asarray(part).reshape(len(frame), -1) for part in outputs], axis=1)


class Function:
    """Any callable of one or two arguments; it gets the prepared features."""

    def __init__(self, function: Any, arguments: int) -> None:
        self.function = function
        self.arguments = arguments

    def __call__(self, frame: Any, live_features: Any, live_benchmark_models: Any) -> Any:
        if self.arguments == 1:
            return self.function(frame)
        return self.function(frame, live_benchmark_models)


class Network:
    """A network as arrays: each layer is its kind and its numbers; see `layer`."""

    def __init__(self, layers: "list[tuple[Any, ...]]", dtype: str, classes: Any = None) -> None:
        self.layers = layers
        self.dtype = dtype
        self.classes = classes

    def __call__(self, frame: Any, live_features: Any, live_benchmark_models: Any) -> Any:
        values = np.asarray(frame, dtype=self.dtype)
        parts = [self.run(values[i : i + _BATCH]) for i in range(0, len(values), _BATCH)]
        return np.concatenate(parts)

    def run(self, values: Any) -> Any:
        """Return the output for rows of features."""
        for parameters in self.layers:
            values = layer(values, *parameters)
        return values if self.classes is None else expected(values, self.classes)


def layer(values: Any, kind: str, *numbers: Any) -> Any:  # noqa: PLR0911, PLR0912 (one branch for each kind)
    """Apply one layer of a network to rows of float values."""
    if kind == "linear":
        return values @ numbers[0] + numbers[1]
    if kind == "scale":
        return (values - numbers[0]) * numbers[1] + numbers[2]
    if kind == "fill":
        return np.where(np.isnan(values), numbers[0], values)
    if kind == "layer_norm":
        center = values.mean(axis=1, keepdims=True)
        variance = ((values - center) ** 2).mean(axis=1, keepdims=True)
        return (values - center) / np.sqrt(variance + numbers[0]) * numbers[1] + numbers[2]
    if kind == "relu":
        return np.maximum(values, 0)
    if kind == "leaky_relu":
        return np.where(values >= 0, values, values * numbers[0])
    if kind == "elu":
        return np.where(values > 0, values, numbers[0] * np.expm1(np.minimum(values, 0)))
    if kind == "tanh":
        return np.tanh(values)
    if kind == "sigmoid":
        return sigmoid(values)
    if kind == "silu":
        return values * sigmoid(values)
    if kind == "softplus":
        beta, threshold = numbers
        return np.where(values * beta > threshold, values, np.logaddexp(0, values * beta) / beta).astype(values.dtype)
    if kind == "gelu":
        return values * (0.5 * (1 + error_function(values / math.sqrt(2)))).astype(values.dtype)
    if kind == "gelu_tanh":
        return 0.5 * values * (1 + np.tanh(math.sqrt(2 / math.pi) * (values + 0.044715 * values**3)))
    if kind == "softmax":
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)
    if kind == "both_classes":
        return np.concatenate([1 - values, values], axis=1)
    raise ValueError(f"unknown layer kind {kind!r}")


def sigmoid(values: Any) -> Any:
    """Return 1 / (1 + exp(-x)) without overflow."""
    powers = np.exp(-np.abs(values))
    return np.where(values >= 0, 1, powers) / (1 + powers)


def error_function(values: Any) -> Any:
    """Return erf, from scipy if it is installed."""
    try:
        from scipy.special import erf  # noqa: PLC0415
    except ImportError:
        return np.vectorize(math.erf, otypes=["float64"])(values)
    return erf(values)


def expected(probabilities: Any, classes: Any) -> Any:
    """Return the mean of the classes, weighted by their probabilities."""
    return probabilities @ np.asarray(classes, dtype="float64")


def as_series(predictions: Any, index: Any, name: str, output: Any) -> Any:
    """Return a member's predictions as float64 in the order of the index; indexed values are aligned by index.

    `output` is the column to use, by number or name, if the member has several outputs.
    """
    import pandas as pd  # noqa: PLC0415

    if isinstance(predictions, pd.DataFrame):
        predictions = predictions.iloc[:, chosen_output(list(predictions.columns), output, name)]
    if isinstance(predictions, pd.Series):
        return predictions.astype("float64").reindex(index) if index.is_unique else predictions.astype("float64")
    values = np.asarray(predictions, dtype="float64")
    if len(values) != len(index):
        raise ValueError(f"the model {name!r} returned {len(values)} predictions for {len(index)} rows")
    if values.size:
        values = values.reshape(len(values), -1)
        values = values[:, chosen_output(range(values.shape[1]), output, name)]
    return pd.Series(values.reshape(-1), index=index)


def chosen_output(outputs: Any, output: Any, name: str) -> int:
    """Return the index of the output to use; a model with several outputs requires a choice."""
    if len(outputs) == 1:
        return 0
    if output in outputs:
        return list(outputs).index(output)
    if isinstance(output, int) and 0 <= output < len(outputs):
        return output
    chosen = "none is chosen" if output is None else f"{output!r} is not one of them"
    names = ", ".join(map(repr, list(outputs)[:5])) + (", ..." if len(outputs) > 5 else "")
    raise ValueError(f"the model {name!r} predicts {len(outputs)} outputs for each row ({names}), and {chosen}")


def ranked(values: Any, eras: Any, ties: str) -> Any:
    """Return ranks within each era, above 0 and up to 1."""
    groups = values if eras is None else values.groupby(eras, observed=True, sort=False)
    return groups.rank(pct=True, method=ties)


def neutralized(values: Any, against: Any, eras: Any, proportion: float) -> Any:
    """Remove a proportion of what the columns explain linearly from the values of each era."""
    import pandas as pd  # noqa: PLC0415

    columns = against.to_numpy(dtype="float64")
    columns = np.hstack([np.nan_to_num(columns), np.ones((len(columns), 1))])
    numbers = values.to_numpy(dtype="float64")
    result = np.empty(len(numbers))
    for rows in [slice(None)] if eras is None else [eras == era for era in eras.unique()]:
        part, filled = columns[rows], np.nan_to_num(numbers[rows], nan=_FILL)
        result[rows] = filled - proportion * part @ (np.linalg.pinv(part, rcond=1e-6) @ filled)
    return pd.Series(result, index=values.index)


def blended(values: Any, benchmarks: Any, eras: Any, options: "dict[str, Any]") -> Any:
    """Return the weighted ranks of the values and of a benchmark model, which is aligned by its index."""
    name, weight = options["benchmark"], options["benchmark_weight"]
    if benchmarks is None or name not in benchmarks.columns:
        available = [] if benchmarks is None else list(benchmarks.columns)
        raise KeyError(f"the live benchmark models have no {name!r}; they have {available[:20]}")
    benchmark = benchmarks[name].astype("float64").reindex(values.index)
    return (1 - weight) * ranked(values, eras, "average") + weight * ranked(benchmark, eras, "average").fillna(_FILL)
