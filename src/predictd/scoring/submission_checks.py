"""Check that predictions are a valid submission: the rules of `numerai_tools.submissions`, but strict about ids."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from predictd.domain.failures import ModelFailure
from predictd.domain.runs import Predictions

# The defaults of numpy.isclose, which numerai-tools uses to compare with 0, 1 and zero deviation.
_ABSOLUTE = 1e-8
_RELATIVE = 1e-5


def check_submission(predictions: Predictions, live_ids: Sequence[str]) -> ModelFailure | None:
    """Return the first rule that the predictions violate, or None for a valid submission.

    A valid submission has exactly one prediction for each live id in any order, each finite and within 0 to 1 inclusive
    (up to the rounding that numerai-tools tolerates), and not all equal. `live_ids` are unique and not empty.
    """
    values = np.asarray(predictions.values, dtype=np.float64)
    if not len(predictions.ids) or not len(values):
        return ModelFailure(code="empty_predictions", facts={"detail": ""})
    return _check_ids(predictions.ids, live_ids) or check_values(lambda row: predictions.ids[row], values)


def _check_ids(ids: list[str], live_ids: Sequence[str]) -> ModelFailure | None:
    if ids == live_ids:
        return None
    submitted, live = set(ids), set(live_ids)
    if len(submitted) < len(ids):
        repeated = [id_ for id_, times in Counter(ids).items() if times > 1]
        facts = {"count": str(len(repeated)), "example": repeated[0]}
        return ModelFailure(code="duplicate_ids", cause=cause_of_id(repeated[0]), facts=facts)
    if submitted == live:
        return None
    total = str(len(live))
    for code, invalid_ids in (
        ("unknown_ids", [id_ for id_ in ids if id_ not in live]),
        ("missing_ids", [id_ for id_ in live_ids if id_ not in submitted]),
    ):
        if invalid_ids:
            facts = {"count": str(len(invalid_ids)), "total": total, "example": invalid_ids[0]}
            cause = cause_of_id(invalid_ids[0]) if code == "unknown_ids" else None
            return ModelFailure(code=code, cause=cause, facts=facts)
    return None


def cause_of_id(example: str) -> str | None:
    """Return why an id is not in the data: 'row_numbers' for the number of a row, or None if unknown."""
    return "row_numbers" if example.isdecimal() else None


def check_values(id_of: Callable[[int], str], values: NDArray[np.float64]) -> ModelFailure | None:
    """Return the first rule that values violate, regardless of their ids; `id_of` returns the id of a row for messages.

    Valid values, at least one, are finite and within 0 to 1 inclusive, and not all equal.
    """
    total = str(len(values))
    is_invalid = ~np.isfinite(values)
    if is_invalid.any():
        facts = {
            "count": str(np.count_nonzero(is_invalid)),
            "total": total,
            "example": id_of(int(np.argmax(is_invalid))),
        }
        cause = "all_missing" if np.isnan(values).all() else None
        return ModelFailure(code="nan_predictions", cause=cause, facts=facts)
    # Like numpy.isclose: another order of operations would round values at the bounds differently.
    is_outside = (values < -_ABSOLUTE) | (values - 1 > _ABSOLUTE + _RELATIVE)
    if is_outside.any():
        first = int(np.argmax(is_outside))
        facts = {"count": str(np.count_nonzero(is_outside)), "total": total}
        return ModelFailure(
            code="out_of_range", facts={**facts, "value": repr(float(values[first])), "example": id_of(first)}
        )
    # A single prediction has no standard deviation.
    if len(values) > 1:
        deviation = float(values.std(ddof=1))
        if deviation <= _ABSOLUTE + _RELATIVE * deviation:
            return ModelFailure(code="constant_predictions", facts={"value": repr(float(values[0]))})
    return None
