"""How each library's models are asked, and which features they were trained on."""

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
    """What asks a model for predictions, as one of the classes in `predictd.pickles.portable`.

    Raises:
        InvalidInputError: it is no fitted model and no function that takes features.
        CannotExportError: it shall become arrays and can't.
    """
    if export == "numpy":
        return export_numpy(model)
    if export is not None:
        raise InvalidInputError(f"export is {export!r}; the only one is 'numpy'.")
    packages = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
    if "keras" in packages and hasattr(model, "predict"):
        return KerasModel(model)
    if "torch" in packages:
        return TorchModule(copy.deepcopy(model).cpu().eval())
    if type(model).__name__ == "Booster" and "xgboost" in packages:
        return XGBoostBooster(model, _best_rounds(model))
    if hasattr(model, "predict"):
        _check_fitted(model)
        named = feature_names_of(model) is not None or not type(model).__module__.startswith("sklearn.")
        return Regressor(model, numeric_classes(model) if hasattr(model, "predict_proba") else None, named)
    if callable(model) and not isinstance(model, type):
        return Function(model, _arguments_of(model))
    raise InvalidInputError(
        f"{_shown(model)} is no fitted model and no function. Give a model with the method predict, or a function of "
        "the features."
    )


def _best_rounds(booster: Any) -> int:
    """How many rounds of a booster of XGBoost predict best, as its early stopping found; 0 for all of them."""
    best = booster.attr("best_iteration")
    # A linear booster is what its last round left; it has no rounds to choose from.
    is_linear = json.loads(booster.save_config())["learner"]["gradient_booster"]["name"] == "gblinear"
    return 0 if best is None or is_linear else int(best) + 1


def feature_names_of(model: Any) -> list[str] | None:
    """The features that a model was trained on, None if it does not know them by name."""
    for attribute in ("feature_names_in_", "feature_name_", "feature_names_", "feature_name", "feature_names"):
        names = _asked(model, attribute)
        if names is not None and len(names):
            found = [str(name) for name in names]
            return None if all(_NUMBERED.fullmatch(name) for name in found) else found
    return None


def _asked(model: Any, attribute: str) -> Any:
    try:
        names = getattr(model, attribute, None)
        return names() if callable(names) else names
    except Exception:  # noqa: BLE001 (asking an unfitted model raises what its library likes)
        return None


def _check_fitted(model: Any) -> None:
    """Of scikit-learn's interface, an attribute that ends in _ is there once it is fitted."""
    if not type(model).__module__.startswith(("sklearn.", "lightgbm.sklearn")) or hasattr(model, "steps"):
        return
    if not any(name.endswith("_") and not name.startswith("_") for name in vars(model)):
        raise InvalidInputError(f"{_shown(model)} is not fitted. Call fit on it before it is wrapped.")


def _arguments_of(function: Callable[..., Any]) -> int:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return 1
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    required = [one for one in positional if one.default is one.empty]
    keywords = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is one.empty]
    anything = any(one.kind is one.VAR_POSITIONAL for one in parameters)
    if keywords or len(required) > 2 or (not positional and not anything):
        raise InvalidInputError(
            f"The function {getattr(function, '__name__', function)} must take the features, or the features and the "
            f"benchmark models; it takes {inspect.signature(function)}."
        )
    return 2 if len(required) == 2 or (len(positional) >= 2 and "benchmark" in positional[1].name) else 1


def _shown(model: Any) -> str:
    return f"{type(model).__module__.partition('.')[0]}.{type(model).__qualname__}"
