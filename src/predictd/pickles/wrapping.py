"""`predictd.wrap`: create a portable predict function from a fitted model."""

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from predictd.domain.errors import InvalidInputError
from predictd.pickles.adapters import feature_names_of, member_of
from predictd.pickles.by_value import dumps_by_value
from predictd.pickles.formatting import format_size
from predictd.pickles.inspection import MANIFEST_MARK, Inspection
from predictd.pickles.portable import Fill, Function, Predict, PredictWithBenchmarks, Scale, Transform
from predictd.pickles.smoke_test import smoke_test

Ties = Literal["average", "first", "min", "max", "dense"]
_TIES = ("average", "first", "min", "max", "dense")


@dataclass(frozen=True, kw_only=True, repr=False)
class Wrapped:
    """A callable model that can be saved as a pickle that does not need predictd.

    Attributes:
        predict: the pickled object: predict(live_features), optionally with live_benchmark_models.
        modules_by_value: your modules that the pickle contains.
        manifest: the manifest in the pickle: Python, packages, features and options.
        content: the bytes of the pickle.
    """

    predict: Predict
    modules_by_value: tuple[str, ...]
    manifest: dict[str, Any]
    content: bytes

    def __repr__(self) -> str:
        carried = f", containing {', '.join(self.modules_by_value)}" if self.modules_by_value else ""
        return f"<a model wrapped in Python {self.manifest['python']}: {format_size(len(self.content))}{carried}>"

    def __call__(self, live_features: Any, live_benchmark_models: Any = None) -> Any:
        """Return the predictions as in a run: a DataFrame with the column `prediction`."""
        if isinstance(self.predict, PredictWithBenchmarks):
            return self.predict(live_features, live_benchmark_models)
        return self.predict(live_features)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the pickle atomically and return its path."""
        target = Path(path)
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            temporary.write_bytes(self.content)
            temporary.replace(target)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise InvalidInputError(f"{target} can't be written: {error.strerror}.") from error
        return target


def wrap(
    model: Any,
    *,
    features: Sequence[str] | None = None,
    export: Literal["numpy"] | None = None,
    impute: Any = None,
    scale: Any = None,
    rank: bool = True,
    rank_members: bool | None = None,
    ties: Ties = "average",
    neutralize: Sequence[str] = (),
    proportion: float = 1.0,
    benchmark: str | None = None,
    benchmark_weight: float = 0.5,
    output: int | str | None = None,
    clip: tuple[float, float] = (0.0, 1.0),
    data_version: str | None = None,
) -> Wrapped:
    """Create a portable predict function from a fitted model: one prediction in 0 to 1 for each live id.

    The pickle loads without predictd installed, in a runtime with the same Python. It contains your own modules by
    value; `modules_by_value` lists them.

    Args:
        model: a fitted model of LightGBM, XGBoost, CatBoost, scikit-learn (pipelines too), torch or Keras, a function
            of the features, or of the features and the benchmark models; or an ensemble: a list of them, a list of
            (model, weight), or a dict of name -> model or name -> (model, weight). A classifier predicts its expected
            class.
        features: the columns that the model was trained on, in that order; by default the names that the model stores.
        export: 'numpy' turns networks and linear models into arrays, which need no framework to predict.
        impute: the replacement for missing values: a number, one for each feature (in the order of the features, or by
            name), or a fitted transformer.
        scale: (center, scale), each a number or one for each feature, or a fitted transformer.
        rank: rank the predictions within each era, above 0 and up to 1. Otherwise they are only clipped.
        rank_members: rank the predictions of each model of an ensemble within each era before averaging; by default as
            `rank`.
        ties: how to rank equal predictions, as `method` of pandas' rank.
        neutralize: the features against which the ranked predictions are neutralized in each era.
        proportion: the proportion of the explained part to remove, 0 to 1.
        benchmark: the name of a benchmark model to blend with the ranks.
        benchmark_weight: its weight, 0 to 1.
        output: the output to use if a model has several for each row, such as the targets of a forest or the
            probabilities of a booster: its index from 0, or the name of a column. Required for a model with several
            outputs.
        clip: the smallest and the largest prediction, within 0 to 1.
        data_version: the data version of the training, for the manifest.

    Raises:
        InvalidInputError: an argument is invalid, or the model cannot be pickled or fails on a row with the right
            columns.
        CannotExportError: the model cannot be exported to arrays.
    """
    members = _members(model)
    features = _features(features, [member for _, member, _ in members])
    _check(features, ties, proportion, benchmark_weight, clip, neutralize)
    adapted = [(name, member_of(member, export), weight) for name, member, weight in members]
    if features is None and not all(isinstance(member, Function) for _, member, _ in adapted):
        raise InvalidInputError("The model does not store the names of its features. Pass features, in training order.")
    needs_benchmarks = benchmark is not None or any(getattr(member, "arguments", 1) == 2 for _, member, _ in adapted)
    options = {
        "features": features,
        "steps": [*_impute(impute, features), *_scale(scale, features)],
        "rank": rank,
        "rank_members": (rank and len(members) > 1) if rank_members is None else rank_members,
        "ties": ties,
        "neutralize": list(neutralize),
        "proportion": float(proportion),
        "benchmark": benchmark,
        "benchmark_weight": float(benchmark_weight),
        "output": output,
        "clip": (float(clip[0]), float(clip[1])),
    }
    kind = PredictWithBenchmarks if needs_benchmarks else Predict
    smoke_test(kind(options, adapted, ""), [member for _, member, _ in members])
    _, _, inspection = dumps_by_value(kind(options, adapted, ""))
    manifest = _manifest(options, inspection, data_version, export)
    predict = kind(options, adapted, MANIFEST_MARK + json.dumps(manifest, sort_keys=True))
    content, carried, _ = dumps_by_value(predict)
    return Wrapped(predict=predict, modules_by_value=carried, manifest=manifest, content=content)


def _members(model: Any) -> list[tuple[str, Any, float]]:
    """Return the name, model and weight of each member."""
    if isinstance(model, Mapping):
        models = [(str(name), member) for name, member in model.items()]
    elif isinstance(model, (list, tuple)):
        models = [(f"model {number}", member) for number, member in enumerate(model, 1)]
    else:
        models = [("model", model)]
    members = [(name, *(member if _has_weight(member) else (member, 1.0))) for name, member in models]
    if not members:
        raise InvalidInputError("The ensemble is empty. Pass at least one fitted model.")
    weights = [weight for _, _, weight in members]
    if not np.isfinite(weights).all() or sum(weights) == 0:
        raise InvalidInputError(f"The weights {weights} do not sum to a number other than 0. Pass finite weights.")
    return [(name, fitted, float(weight)) for name, fitted, weight in members]


def _has_weight(member: Any) -> bool:
    return isinstance(member, tuple) and len(member) == 2 and isinstance(member[1], (int, float, np.number))


def _features(requested: Sequence[str] | None, models: list[Any]) -> list[str] | None:
    """Return the features in training order."""
    stored = [names for model in models if (names := feature_names_of(model)) is not None]
    if requested is None:
        if any(names != stored[0] for names in stored):
            raise InvalidInputError(
                "The models were trained on different features. Wrap a function that gives each its own."
            )
        return stored[0] if stored else None
    if isinstance(requested, str):
        raise InvalidInputError("features is a string. Pass a list of column names.")
    names = [str(name) for name in requested]
    if not names or len(set(names)) != len(names):
        raise InvalidInputError("features is empty or has duplicates. Pass the columns of the training.")
    for stored_names in stored:
        if stored_names != names:
            difference = (
                "in another order than the model was trained with"
                if set(stored_names) == set(names)
                else f"but the model was trained on a different set of {len(stored_names)}"
            )
            raise InvalidInputError(
                f"features has {len(names)} names, {difference}. Pass those of the "
                "training, or leave features out: the model stores them."
            )
    return names


def _check(
    features: list[str] | None,
    ties: str,
    proportion: float,
    weight: float,
    clip: tuple[float, float],
    neutralize: Sequence[str],
) -> None:
    if ties not in _TIES:
        raise InvalidInputError(f"ties is {ties!r}; choose one of {', '.join(_TIES)}.")
    for name, value in (("proportion", proportion), ("benchmark_weight", weight)):
        if not 0 <= value <= 1:
            raise InvalidInputError(f"{name} is {value}. Pass a number from 0 to 1.")
    if not 0 <= clip[0] < clip[1] <= 1:
        raise InvalidInputError(f"clip is {clip}. Pass the smallest and the largest prediction, within 0 to 1.")
    if isinstance(neutralize, str):
        raise InvalidInputError("neutralize is a string. Pass a list of feature names.")


def _impute(impute: Any, features: list[str] | None) -> list[Any]:
    if impute is None:
        return []
    _need_features(features, "impute")
    return [Transform(impute)] if hasattr(impute, "transform") else [Fill(_each(impute, features or [], "impute"))]


def _scale(scale: Any, features: list[str] | None) -> list[Any]:
    if scale is None:
        return []
    _need_features(features, "scale")
    if hasattr(scale, "transform"):
        return [Transform(scale)]
    if not isinstance(scale, (tuple, list)) or len(scale) != 2:
        raise InvalidInputError("scale must be (center, scale) or a fitted transformer.")
    center, spread = (_each(part, features or [], "scale") for part in scale)
    return [Scale(center, np.where(spread == 0, 1.0, spread))]


def _need_features(features: list[str] | None, argument: str) -> None:
    if features is None:
        raise InvalidInputError(f"{argument} requires features. Pass features, in training order.")


def _each(numbers: Any, features: list[str], argument: str) -> Any:
    """Return a number, or one for each feature, as float64."""
    if isinstance(numbers, Mapping) or (hasattr(numbers, "to_dict") and hasattr(numbers, "index")):
        missing = [name for name in features if name not in numbers]
        if missing:
            raise InvalidInputError(f"{argument} has no value for {len(missing)} features, first {missing[0]}.")
        numbers = [numbers[name] for name in features]
    values = np.asarray(numbers, dtype="float64")
    if values.ndim > 1 or (values.ndim == 1 and len(values) != len(features)):
        raise InvalidInputError(f"{argument} has {values.size} values for {len(features)} features. Pass one for each.")
    return values


def _manifest(
    options: dict[str, Any], inspection: Inspection, data_version: str | None, export: str | None
) -> dict[str, Any]:
    features = options["features"]
    text = "\n".join(features or [])
    recorded_options = {name: value for name, value in options.items() if name not in ("features", "steps")}
    return {
        "python": platform.python_version(),
        "packages": _packages(inspection),
        "features": features,
        "features_sha256": None if features is None else hashlib.sha256(text.encode()).hexdigest(),
        "data_version": data_version,
        "needs": {
            "live": [*(features or []), *(name for name in options["neutralize"] if name not in (features or []))],
            "benchmarks": [] if options["benchmark"] is None else [options["benchmark"]],
        },
        "options": {**recorded_options, "export": export, "steps": [type(step).__name__ for step in options["steps"]]},
    }


@functools.cache
def _owners() -> Mapping[str, list[str]]:
    """Map import names to the installed packages that provide them, which takes a good part of a second."""
    return importlib.metadata.packages_distributions()


def _packages(inspection: Inspection) -> dict[str, str]:
    """Return name and version of the installed packages that the pickle imports, and of numpy and pandas."""
    owners = _owners()
    tops = {imported.top for imported in inspection.imports} | {"numpy", "pandas", "cloudpickle"}
    names = {name for top in tops if top not in sys.stdlib_module_names for name in owners.get(top, [])}
    return {name.lower().replace("_", "-"): importlib.metadata.version(name) for name in sorted(names)}
