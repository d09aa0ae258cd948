"""`predictd.wrap`: a portable predict function of a fitted model."""

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
from predictd.pickles.by_value import dumps_carrying
from predictd.pickles.findings import shown_size
from predictd.pickles.inspection import MANIFEST_MARK, Inspection
from predictd.pickles.portable import Fill, Function, Predict, PredictWithBenchmarks, Scale, Transform
from predictd.pickles.smoke_test import try_it

Ties = Literal["average", "first", "min", "max", "dense"]
_TIES = ("average", "first", "min", "max", "dense")


@dataclass(frozen=True, kw_only=True, repr=False)
class Wrapped:
    """A model that can be called, and saved as a pickle that needs no predictd.

    Attributes:
        predict: what is pickled: predict(live_features), or with live_benchmark_models too.
        modules_by_value: the modules of your own that the pickle carries.
        manifest: what was written into the pickle about how it was made.
        content: the bytes of the pickle.
    """

    predict: Predict
    modules_by_value: tuple[str, ...]
    manifest: dict[str, Any]
    content: bytes

    def __repr__(self) -> str:
        carried = f", carrying {', '.join(self.modules_by_value)} by value" if self.modules_by_value else ""
        return f"<a model wrapped in Python {self.manifest['python']}: {shown_size(len(self.content))}{carried}>"

    def __call__(self, live_features: Any, live_benchmark_models: Any = None) -> Any:
        """The predictions as a run makes them: a DataFrame with the column `prediction`."""
        if isinstance(self.predict, PredictWithBenchmarks):
            return self.predict(live_features, live_benchmark_models)
        return self.predict(live_features)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the pickle, whole or not at all, and answer its path."""
        target = Path(path)
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            draft.write_bytes(self.content)
            draft.replace(target)
        except OSError as error:
            draft.unlink(missing_ok=True)
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
    """Make a portable predict of a fitted model, as a run wants it: one prediction within 0 to 1 for each live id.

    The pickle loads where predictd is not installed, in a runtime of the same Python. Modules of your own are carried
    by value; `modules_by_value` says which.

    Args:
        model: a fitted model of LightGBM, XGBoost, CatBoost, scikit-learn (pipelines too), torch or Keras, a function
            of the features, or of the features and the benchmark models; or an ensemble: a list of them, a list of
            (model, weight), or a dict of name -> model or name -> (model, weight). A classifier predicts its expected
            class.
        features: the columns that the model was trained on, in that order; by default those that the model knows.
        export: 'numpy' turns networks and linear models into arrays, which need no framework to predict.
        impute: what stands for a missing value: a number, one for each feature (in the order of the features, or by
            name), or a fitted transformer.
        scale: (centre, scale), each a number or one for each feature, or a fitted transformer.
        rank: rank the predictions within each era, above 0 and up to 1. Without it they are only clipped.
        rank_members: rank each model of an ensemble within each era before they are averaged; by default as `rank`.
        ties: how equal predictions are ranked, as pandas calls it.
        neutralize: the features against which the ranked predictions are neutralised in each era.
        proportion: how much of what those features explain is taken away, 0 to 1.
        benchmark: the name of a benchmark model that the ranks are blended with.
        benchmark_weight: its weight, 0 to 1.
        output: which output is the prediction where a model has several for each row, such as the targets of a forest
            or the probabilities of a booster: its number from 0, or the name of a column. A model of several outputs
            needs it.
        clip: the least and the largest prediction, within 0 to 1.
        data_version: the data version of the training, for the manifest.

    Raises:
        InvalidInputError: an argument can't be taken, the model can't be pickled, or it fails on a row of the right
            columns; says why.
        CannotExportError: the model can't become arrays; says which part of it.
    """
    members = _members(model)
    features = _features(features, [one for _, one, _ in members])
    _check(features, ties, proportion, benchmark_weight, clip, neutralize)
    adapted = [(name, member_of(one, export), weight) for name, one, weight in members]
    if features is None and not all(isinstance(one, Function) for _, one, _ in adapted):
        raise InvalidInputError(
            "The model does not know the names of its features. Give features, in the training's order."
        )
    needs_benchmarks = benchmark is not None or any(getattr(one, "arguments", 1) == 2 for _, one, _ in adapted)
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
    try_it(kind(options, adapted, ""), [one for _, one, _ in members])
    _, _, inspection = dumps_carrying(kind(options, adapted, ""))
    manifest = _manifest(options, inspection, data_version, export)
    predict = kind(options, adapted, MANIFEST_MARK + json.dumps(manifest, sort_keys=True))
    content, carried, _ = dumps_carrying(predict)
    return Wrapped(predict=predict, modules_by_value=carried, manifest=manifest, content=content)


def _members(model: Any) -> list[tuple[str, Any, float]]:
    """Name, model and weight of each."""
    if isinstance(model, Mapping):
        named = [(str(name), one) for name, one in model.items()]
    elif isinstance(model, (list, tuple)):
        named = [(f"model {number}", one) for number, one in enumerate(model, 1)]
    else:
        named = [("model", model)]
    found = [(name, *(one if _has_weight(one) else (one, 1.0))) for name, one in named]
    if not found:
        raise InvalidInputError("The ensemble is empty. Give at least one fitted model.")
    weights = [weight for _, _, weight in found]
    if not np.isfinite(weights).all() or sum(weights) == 0:
        raise InvalidInputError(f"The weights {weights} do not sum to a number other than 0. Give finite weights.")
    return [(name, one, float(weight)) for name, one, weight in found]


def _has_weight(one: Any) -> bool:
    return isinstance(one, tuple) and len(one) == 2 and isinstance(one[1], (int, float, np.number))


def _features(given: Sequence[str] | None, models: list[Any]) -> list[str] | None:
    """The features in the order of the training."""
    known = [names for one in models if (names := feature_names_of(one)) is not None]
    if given is None:
        if any(names != known[0] for names in known):
            raise InvalidInputError(
                "The models were trained on different features. Wrap a function that gives each its own."
            )
        return known[0] if known else None
    if isinstance(given, str):
        raise InvalidInputError("features is one text; give the list of the columns' names.")
    names = [str(name) for name in given]
    if not names or len(set(names)) != len(names):
        raise InvalidInputError("features is empty or names a column twice. Give the columns that it was trained on.")
    for own in known:
        if own != names:
            what = "in another order" if set(own) == set(names) else f"but the model knows {len(own)}, other ones"
            raise InvalidInputError(
                f"features has {len(names)} names, {what} than the model was trained with. Give them as in the "
                "training, or leave features out: the model knows its own."
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
            raise InvalidInputError(f"{name} is {value}; give a number from 0 to 1.")
    if not 0 <= clip[0] < clip[1] <= 1:
        raise InvalidInputError(f"clip is {clip}; give the least and the largest prediction, within 0 to 1.")
    if isinstance(neutralize, str):
        raise InvalidInputError("neutralize is one text; give the list of the features' names.")


def _impute(given: Any, features: list[str] | None) -> list[Any]:
    if given is None:
        return []
    _need_features(features, "impute")
    return [Transform(given)] if hasattr(given, "transform") else [Fill(_each(given, features or [], "impute"))]


def _scale(given: Any, features: list[str] | None) -> list[Any]:
    if given is None:
        return []
    _need_features(features, "scale")
    if hasattr(given, "transform"):
        return [Transform(given)]
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise InvalidInputError("scale must be (centre, scale) or a fitted transformer.")
    center, spread = (_each(one, features or [], "scale") for one in given)
    return [Scale(center, np.where(spread == 0, 1.0, spread))]


def _need_features(features: list[str] | None, what: str) -> None:
    if features is None:
        raise InvalidInputError(f"{what} needs to know the features. Give features, in the order of the training.")


def _each(given: Any, features: list[str], what: str) -> Any:
    """A number, or one for each feature, as float64."""
    if isinstance(given, Mapping) or (hasattr(given, "to_dict") and hasattr(given, "index")):
        missing = [name for name in features if name not in given]
        if missing:
            raise InvalidInputError(f"{what} has no value for {len(missing)} features, first {missing[0]}.")
        given = [given[name] for name in features]
    values = np.asarray(given, dtype="float64")
    if values.ndim > 1 or (values.ndim == 1 and len(values) != len(features)):
        raise InvalidInputError(f"{what} has {values.size} values for {len(features)} features; give one for each.")
    return values


def _manifest(
    options: dict[str, Any], inspection: Inspection, data_version: str | None, export: str | None
) -> dict[str, Any]:
    features = options["features"]
    text = "\n".join(features or [])
    shown = {name: value for name, value in options.items() if name not in ("features", "steps")}
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
        "options": {**shown, "export": export, "steps": [type(step).__name__ for step in options["steps"]]},
    }


@functools.cache
def _owners() -> Mapping[str, list[str]]:
    """Import name -> the installed packages that it belongs to; takes a good part of a second."""
    return importlib.metadata.packages_distributions()


def _packages(inspection: Inspection) -> dict[str, str]:
    """Name and version of the installed packages that the pickle imports, and of numpy and pandas."""
    owners = _owners()
    tops = {one.top for one in inspection.imports} | {"numpy", "pandas", "cloudpickle"}
    names = {name for top in tops if top not in sys.stdlib_module_names for name in owners.get(top, [])}
    return {name.lower().replace("_", "-"): importlib.metadata.version(name) for name in sorted(names)}
