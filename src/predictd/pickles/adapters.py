"""Adapters for the models of each library, and the features they were trained on."""

import copy
import inspect
import json
import re
from collections.abc import Callable
from typing import Any

from predictd.domain.errors import InvalidInputError
from predictd.pickles.numpy_export import export_numpy, numeric_classes
from predictd.pickles.portable import Function, KerasModel, Regressor, TorchModule, XGBoostBooster

# What LightGBM, XGBoost and CatBoost call columns that have no names.
_NUMBERED = re.compile(r"(Column_|f|x|feature_)?\d+")


def member_of(model: Any, export: str | None) -> Any:
    """Return an adapter that predicts with the model, one of the classes in `predictd.pickles.portable`.

    Raises:
        InvalidInputError: the value is neither a fitted model nor a function that takes features.
        CannotExportError: the model cannot be exported to arrays.
    """
    if export == "numpy":
        return export_numpy(model)
    if export is not None:
        raise InvalidInputError(f"export is {export!r}. Use 'numpy', or leave it out.")
    packages = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
    if "keras" in packages and hasattr(model, "predict"):
        return KerasModel(model)
    if "torch" in packages:
        return TorchModule(copy.deepcopy(model).cpu().eval())
    if type(model).__name__ == "Booster" and "xgboost" in packages:
        return XGBoostBooster(model, _best_rounds(model))
    if hasattr(model, "predict"):
        _check_fitted(model)
        has_names = feature_names_of(model) is not None or not type(model).__module__.startswith("sklearn.")
        return Regressor(model, numeric_classes(model) if hasattr(model, "predict_proba") else None, has_names)
    if callable(model) and not isinstance(model, type):
        return Function(model, _arguments_of(model))
    raise InvalidInputError(
        f"{_type_name(model)} is neither a fitted model nor a function. Pass a model with a predict method, or a "
        "function of the features."
    )


def _best_rounds(booster: Any) -> int:
    """Return the number of rounds that early stopping chose for an XGBoost booster; 0 for all rounds."""
    best = booster.attr("best_iteration")
    # A linear booster holds only the result of its last round.
    is_linear = json.loads(booster.save_config())["learner"]["gradient_booster"]["name"] == "gblinear"
    return 0 if best is None or is_linear else int(best) + 1


def feature_names_of(model: Any) -> list[str] | None:
    """Return the features that a model was trained on, or None if it stores no names."""
    for attribute in ("feature_names_in_", "feature_name_", "feature_names_", "feature_name", "feature_names"):
        names = _read_names(model, attribute)
        if names is not None and len(names):
            features = [str(name) for name in names]
            return None if all(_NUMBERED.fullmatch(name) for name in features) else features
    return None


def _read_names(model: Any, attribute: str) -> Any:
    try:
        names = getattr(model, attribute, None)
        return names() if callable(names) else names
    except Exception:  # noqa: BLE001 (an unfitted model may raise anything)
        return None


def _check_fitted(model: Any) -> None:
    """Raise if a scikit-learn model has no attribute that ends in an underscore, which fitting sets."""
    if not type(model).__module__.startswith(("sklearn.", "lightgbm.sklearn")) or hasattr(model, "steps"):
        return
    if not any(name.endswith("_") and not name.startswith("_") for name in vars(model)):
        raise InvalidInputError(f"{_type_name(model)} is not fitted. Fit it before wrapping it.")


def _arguments_of(function: Callable[..., Any]) -> int:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return 1
    positional = [
        parameter
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    required = [parameter for parameter in positional if parameter.default is parameter.empty]
    keywords = [
        parameter.name
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
    ]
    accepts_any = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    if keywords or len(required) > 2 or (not positional and not accepts_any):
        raise InvalidInputError(
            f"The function {getattr(function, '__name__', function)} must take the features, or the features and the "
            f"benchmark models; it takes {inspect.signature(function)}."
        )
    return 2 if len(required) == 2 or (len(positional) >= 2 and "benchmark" in positional[1].name) else 1


def _type_name(model: Any) -> str:
    return f"{type(model).__module__.partition('.')[0]}.{type(model).__qualname__}"
