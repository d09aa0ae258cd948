"""Export networks and linear models to plain arrays, which need no framework to predict."""

from collections.abc import Callable
from typing import Any

import numpy as np

from predictd.domain.errors import InvalidInputError
from predictd.pickles.portable import Network

Layers = list[tuple[Any, ...]]

_LINEAR = {
    "LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "LassoLars", "LassoLarsCV", "ElasticNet",
    "ElasticNetCV", "BayesianRidge", "ARDRegression", "HuberRegressor", "SGDRegressor", "Lars",
    "OrthogonalMatchingPursuit", "TheilSenRegressor", "QuantileRegressor", "LinearSVR", "PassiveAggressiveRegressor",
}  # fmt: skip
_TREES = ("lightgbm", "xgboost", "catboost")
_ACTIVATIONS = {"identity": [], "relu": [("relu",)], "tanh": [("tanh",)], "logistic": [("sigmoid",)]}
_KERAS_ACTIVATIONS: dict[str, Layers] = {
    "linear": [],
    "relu": [("relu",)],
    "tanh": [("tanh",)],
    "sigmoid": [("sigmoid",)],
    "silu": [("silu",)],
    "swish": [("silu",)],
    "gelu": [("gelu",)],
    "elu": [("elu", 1.0)],
    "softplus": [("softplus", 1.0, np.inf)],
    "leaky_relu": [("leaky_relu", 0.2)],
}


class CannotExportError(InvalidInputError):
    """The model cannot be exported to plain arrays."""

    code = "cannot_export"


def export_numpy(model: Any) -> Network:
    """Return a torch, Keras or scikit-learn model as a network of arrays, equal up to float tolerance.

    Raises:
        CannotExportError: a part of the model has no equivalent.
    """
    kinds = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
    kinds = kinds - {"sklearn"} if type(model).__module__.startswith(_TREES) else kinds
    # A Keras model is also a torch module if torch is the backend.
    if "keras" in kinds:
        return Network(_keras(model), "float32")
    if "torch" in kinds:
        return Network(_torch(model, "model"), "float32")
    if "sklearn" in kinds:
        return _sklearn(model)
    raise CannotExportError(
        f"export='numpy' does not support {_type_name(model)}, only torch and Keras networks, and MLPs, linear models "
        "and pipelines of scikit-learn. Leave export out: trees are fast without it."
    )


def _torch(module: Any, path: str) -> Layers:
    name = type(module).__name__
    if not type(module).__module__.startswith("torch.nn"):
        raise CannotExportError(
            f"{path} is {_type_name(module)}, which has a custom forward method. Build the network as a "
            "torch.nn.Sequential, or leave export out and choose a runtime with torch."
        )
    if name == "Sequential":
        return [layer for key, inner in module.named_children() for layer in _torch(inner, f"{path}.{key}")]
    if name not in _TORCH:
        raise CannotExportError(
            f"{path} is a {name}, which has no numpy equivalent. Supported are "
            f"{', '.join(sorted(_TORCH))}, in a Sequential. Leave export out and choose a runtime with torch."
        )
    return _TORCH[name](module)


def _array(tensor: Any) -> Any:
    return tensor.detach().cpu().numpy().astype("float32")


def _torch_linear(module: Any) -> Layers:
    bias = np.float32(0) if module.bias is None else _array(module.bias)
    return [("linear", np.ascontiguousarray(_array(module.weight).T), bias)]


def _torch_batch_norm(module: Any) -> Layers:
    if module.running_mean is None:
        raise CannotExportError(
            "A BatchNorm1d without running statistics depends on the batch. Set track_running_stats=True for training."
        )
    scale = 1 / np.sqrt(_array(module.running_var) + np.float32(module.eps))
    weight, bias = (1, 0) if module.weight is None else (_array(module.weight), _array(module.bias))
    return [("scale", _array(module.running_mean), scale * weight, bias)]


def _torch_layer_norm(module: Any) -> Layers:
    if len(module.normalized_shape) != 1:
        raise CannotExportError("A LayerNorm over more than the last dimension has no numpy equivalent.")
    weight = np.float32(1) if module.weight is None else _array(module.weight)
    bias = np.float32(0) if module.bias is None else _array(module.bias)
    return [("layer_norm", np.float32(module.eps), weight, bias)]


_TORCH: dict[str, Callable[[Any], Layers]] = {
    "Linear": _torch_linear,
    "BatchNorm1d": _torch_batch_norm,
    "LayerNorm": _torch_layer_norm,
    "ReLU": lambda _: [("relu",)],
    "LeakyReLU": lambda module: [("leaky_relu", np.float32(module.negative_slope))],
    "ELU": lambda module: [("elu", np.float32(module.alpha))],
    "GELU": lambda module: [("gelu" if module.approximate == "none" else "gelu_tanh",)],
    "SiLU": lambda _: [("silu",)],
    "Tanh": lambda _: [("tanh",)],
    "Sigmoid": lambda _: [("sigmoid",)],
    "Softplus": lambda module: [("softplus", np.float32(module.beta), np.float32(module.threshold))],
    "Identity": lambda _: [],
    "Dropout": lambda _: [],
    "Flatten": lambda _: [],
}


def _keras(model: Any) -> Layers:
    if type(model).__name__ != "Sequential":
        raise CannotExportError(
            f"{_type_name(model)} is not a Keras Sequential model, and only those can be exported to arrays."
        )
    return [layer for inner in model.layers for layer in _keras_layer(inner)]


def _keras_layer(layer: Any) -> Layers:
    name = type(layer).__name__
    if name in ("InputLayer", "Dropout", "GaussianNoise", "GaussianDropout", "AlphaDropout", "Flatten"):
        return []
    if name == "Dense":
        weights = layer.get_weights()
        bias = weights[1] if len(weights) > 1 else np.float32(0)
        return [("linear", np.asarray(weights[0]), bias), *_keras_activation(layer.activation)]
    if name == "Activation":
        return _keras_activation(layer.activation)
    if name == "BatchNormalization":
        return _keras_batch_norm(layer)
    if name == "ReLU" and layer.max_value is None and not layer.threshold and not layer.negative_slope:
        return [("relu",)]
    raise CannotExportError(f"The layer {layer.name!r} is a {name}, which has no numpy equivalent.")


def _keras_batch_norm(layer: Any) -> Layers:
    weights = list(layer.get_weights())
    scale = weights.pop(0) if layer.scale else np.float32(1)
    center = weights.pop(0) if layer.center else np.float32(0)
    mean, variance = weights
    return [("scale", mean, scale / np.sqrt(variance + np.float32(layer.epsilon)), center)]


def _keras_activation(activation: Any) -> Layers:
    name = str(getattr(activation, "__name__", type(activation).__name__))
    if name not in _KERAS_ACTIVATIONS:
        raise CannotExportError(f"The activation {name!r} of Keras has no numpy equivalent.")
    return _KERAS_ACTIVATIONS[name]


def _sklearn(model: Any) -> Network:
    steps = [step for _, step in model.steps] if type(model).__name__ == "Pipeline" else [model]
    layers: Layers = []
    for step in steps[:-1]:
        layers += _sklearn_step(step)
    last = steps[-1]
    name = type(last).__name__
    classes = None if not hasattr(last, "classes_") else numeric_classes(last)
    if name in ("MLPRegressor", "MLPClassifier"):
        layers += _sklearn_mlp(last)
    elif name in _LINEAR:
        layers.append(("linear", _columns(last.coef_), np.atleast_1d(np.asarray(last.intercept_, dtype="float64"))))
    elif name in ("LogisticRegression", "LogisticRegressionCV"):
        layers += _sklearn_logistic(last)
    else:
        raise CannotExportError(
            f"{_type_name(last)} is not a linear model or MLP that can be exported to arrays. Leave export out: the "
            "runtimes have scikit-learn."
        )
    return Network(layers, "float64", classes)


def _sklearn_step(step: Any) -> Layers:
    name = type(step).__name__ if type(step).__module__.startswith("sklearn.") else ""
    if step is None or step == "passthrough":
        return []
    if name == "StandardScaler":
        center = np.float64(0) if step.mean_ is None else step.mean_
        return [("scale", center, np.float64(1) if step.scale_ is None else 1 / step.scale_, np.float64(0))]
    if name == "MinMaxScaler" and not step.clip:
        return [("scale", np.float64(0), step.scale_, step.min_)]
    if name == "MaxAbsScaler":
        return [("scale", np.float64(0), 1 / step.scale_, np.float64(0))]
    if name == "SimpleImputer" and not step.add_indicator and not np.isnan(np.asarray(step.statistics_, float)).any():
        return [("fill", np.asarray(step.statistics_, dtype="float64"))]
    raise CannotExportError(
        f"The step {_type_name(step)} of the pipeline has no numpy equivalent. Supported are StandardScaler, "
        "MinMaxScaler and MaxAbsScaler without clip, and SimpleImputer without indicators. Leave export out."
    )


def _sklearn_mlp(model: Any) -> Layers:
    layers: Layers = []
    for index, (weights, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        layers.append(("linear", weights, bias))
        if index < len(model.coefs_) - 1:
            layers += _ACTIVATIONS[model.activation]
    if model.out_activation_ == "softmax":
        return [*layers, ("softmax",)]
    layers += _ACTIVATIONS[model.out_activation_]
    return [*layers, ("both_classes",)] if hasattr(model, "classes_") else layers


def _sklearn_logistic(model: Any) -> Layers:
    linear = ("linear", _columns(model.coef_), model.intercept_)
    if len(model.classes_) == 2:
        return [linear, ("sigmoid",), ("both_classes",)]
    if getattr(model, "multi_class", "auto") == "ovr" or getattr(model, "solver", "") == "liblinear":
        raise CannotExportError(
            "A LogisticRegression that is one-vs-rest has no numpy equivalent. Use the lbfgs solver."
        )
    return [linear, ("softmax",)]


def numeric_classes(model: Any) -> Any:
    """Return the classes of a classifier as numbers, the weights of its probabilities; a list for several outputs.

    Raises:
        InvalidInputError: a class is not a number, so the expected class is undefined.
    """
    try:
        if isinstance(model.classes_, list) and np.ndim(model.classes_[0]) > 0:
            return [np.asarray(classes, dtype="float64") for classes in model.classes_]
        return np.asarray(model.classes_, dtype="float64")
    except (TypeError, ValueError) as error:
        first_classes = ", ".join(map(str, model.classes_[:3]))
        raise InvalidInputError(
            f"The classes of {_type_name(model)} are not numbers ({first_classes}). Train it on numbers, such as "
            "0, 0.25, 0.5, 0.75 and 1 or 0 to 4, or wrap a function that maps its classes to numbers."
        ) from error


def _columns(coefficients: Any) -> Any:
    return np.ascontiguousarray(np.atleast_2d(np.asarray(coefficients, dtype="float64")).T)


def _type_name(model: Any) -> str:
    kind = type(model)
    return f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"
