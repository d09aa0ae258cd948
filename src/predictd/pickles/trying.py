"""Trying a wrapped model on a few made-up rows, while whoever wraps it can still mend it."""

from typing import Any

import numpy as np

from predictd.domain.errors import InvalidInputError
from predictd.pickles.adapting import member_of
from predictd.pickles.exporting import CannotExportError
from predictd.pickles.portable import Function, Network, Predict

_ROWS = 40
_TOLERANCE = 1e-4


def try_it(predict: Predict, models: list[Any]) -> None:
    """Call it on rows of whole numbers from 0 to 4, the values of the features, and compare exported members.

    Functions are not called: they may want columns that nobody knows of here.

    Raises:
        InvalidInputError: it fails, or does not answer numbers within 0 to 1.
        CannotExportError: the arrays do not give what the model gives.
    """
    features = predict.options["features"]
    if features is None or any(isinstance(one, Function) for _, one, _ in predict.members):
        return
    live, benchmarks = _rows(predict)
    try:
        found = predict.predictions(live, benchmarks)
    except Exception as error:
        raise InvalidInputError(
            f"The model fails on {_ROWS} rows of the {len(features)} features: {type(error).__name__}: {error}. Check "
            "that features are those of its training, in that order."
        ) from error
    if not np.isfinite(found["prediction"]).all():
        raise InvalidInputError("The model answers no numbers for rows of the features. Check how it was trained.")
    for (name, member, _), model in zip(predict.members, models, strict=True):
        if isinstance(member, Network):
            _compare(name, member, model, predict.prepared(live))


def _compare(name: str, member: Network, model: Any, frame: Any) -> None:
    expected = np.asarray(member_of(model, None)(frame, None, None), dtype="float64").reshape(len(frame), -1)[:, 0]
    found = np.asarray(member(frame, None, None), dtype="float64").reshape(len(frame), -1)[:, 0]
    apart = float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max())))
    if not apart <= _TOLERANCE:
        raise CannotExportError(
            f"The arrays of {name!r} answer otherwise than the model itself, by {apart:.2g}. Leave export out."
        )


def _rows(predict: Predict) -> tuple[Any, Any]:
    import pandas as pd  # noqa: PLC0415

    random = np.random.default_rng(0)
    options = predict.options
    columns = list(dict.fromkeys([*options["features"], *options["neutralize"]]))
    index = pd.Index([f"n{number:015x}" for number in range(_ROWS)], name="id")
    values = random.integers(0, 5, (_ROWS, len(columns))).astype("int8")
    live = pd.DataFrame(values, columns=columns, index=index).assign(era="X")
    names = [] if options["benchmark"] is None else [options["benchmark"]]
    return live, pd.DataFrame({name: random.random(_ROWS) for name in names}, index=index)
