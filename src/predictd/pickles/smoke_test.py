"""Try a wrapped model on a few generated rows, while the user can still fix it."""

from typing import Any

import numpy as np

from predictd.domain.errors import InvalidInputError
from predictd.pickles.adapters import member_of
from predictd.pickles.numpy_export import CannotExportError
from predictd.pickles.portable import Function, Network, Predict, Regressor

_ROWS = 40
_TOLERANCE = 1e-4
_FAILS = (
    f"The model fails on {_ROWS} rows of the {{count}} features: {{error}}. Check that features lists the columns of "
    "its training, in that order."
)


def smoke_test(predict: Predict, models: list[Any]) -> None:
    """Predict for rows of whole numbers from 0 to 4, the values of the features, and compare exported members.

    Functions are not called: they may need columns that are unknown here.

    Raises:
        InvalidInputError: the model fails, or does not return numbers in 0 to 1.
        CannotExportError: the predictions of the arrays differ from those of the model.
    """
    if predict.options["features"] is None:
        return
    live, benchmarks = _rows(predict)
    _check_outputs(predict, models, live)
    if any(isinstance(member, Function) for _, member, _ in predict.members):
        return
    try:
        predictions = predict.predictions(live, benchmarks)
    except Exception as error:
        raise InvalidInputError(
            _FAILS.format(count=len(predict.options["features"]), error=f"{type(error).__name__}: {error}")
        ) from error
    if not np.isfinite(predictions["prediction"]).all():
        raise InvalidInputError("The model does not return numbers for rows of the features. Check its training.")
    for (name, member, _), model in zip(predict.members, models, strict=True):
        if isinstance(member, Network):
            _compare(name, member, model, predict.prepared(live))


def _check_outputs(predict: Predict, models: list[Any], live: Any) -> None:
    """Raise if a model has several outputs and none is chosen; functions are not called.

    Raises:
        InvalidInputError: the model has several outputs, or `output` is not one of them.
    """
    output = predict.options["output"]
    counts = [
        0 if isinstance(member, Function) else _count_outputs(predict, name, member, model, live)
        for (name, member, _), model in zip(predict.members, models, strict=True)
    ]
    for (name, _, _), count in zip(predict.members, counts, strict=True):
        if count > 1 and not (isinstance(output, int) and 0 <= output < count):
            chosen = "" if output is None else f", and {output!r} is not one of them"
            raise InvalidInputError(
                f"The model {name!r} predicts {count} outputs for each row{chosen}. Choose the one that is the "
                f"prediction with output=0 to output={count - 1}, or wrap a function of the features that makes one of "
                "them."
            )
    if output is not None and set(counts) == {1}:
        raise InvalidInputError(f"output is {output!r}, but the model predicts one value for each row. Leave it out.")


def _count_outputs(predict: Predict, name: str, member: Any, model: Any, live: Any) -> int:
    frame = predict.prepared(live)
    try:
        probabilities = _probabilities(member_of(model, None), frame)
        if probabilities is not None and not np.allclose(probabilities.sum(axis=1), 1, atol=_TOLERANCE):
            raise InvalidInputError(
                f"The model {name!r} predicts {probabilities.shape[1]} labels that do not exclude each other, so there "
                "is no expected class. Wrap a function of the features that combines them into one prediction."
            )
        return int(np.prod(np.shape(member(frame, None, None))[1:]))
    except InvalidInputError:
        raise
    except Exception as error:
        raise InvalidInputError(
            _FAILS.format(count=len(predict.options["features"]), error=f"{type(error).__name__}: {error}")
        ) from error


def _probabilities(member: Any, frame: Any) -> Any:
    """Return the probabilities of a classifier of one output, or None for any other model."""
    if not isinstance(member, Regressor) or member.classes is None or isinstance(member.classes, list):
        return None
    return np.asarray(member.model.predict_proba(frame if member.has_names else frame.to_numpy()))


def _compare(name: str, member: Network, model: Any, frame: Any) -> None:
    expected = np.asarray(member_of(model, None)(frame, None, None), dtype="float64").reshape(len(frame), -1)
    actual = np.asarray(member(frame, None, None), dtype="float64").reshape(len(frame), -1)
    difference = float(np.abs(actual - expected).max() / max(1.0, float(np.abs(expected).max())))
    if not difference <= _TOLERANCE:
        raise CannotExportError(
            f"The predictions of the exported {name!r} differ from those of the model by {difference:.2g}. Leave "
            "export out."
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
