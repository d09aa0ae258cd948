"""What makes predictions a valid submission; the rules of `numerai_tools.submissions`, without its leniency on ids."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from predictd.domain.failures import ModelFailure
from predictd.domain.runs import Predictions

# The defaults of numpy.isclose, by which numerai-tools tells 0, 1 and "no deviation".
_ABSOLUTE = 1e-8
_RELATIVE = 1e-5


def check_submission(predictions: Predictions, live_ids: Sequence[str]) -> ModelFailure | None:
    """The first rule that the predictions break, or None for a valid submission.

    Valid is exactly one prediction for each live id in any order, each finite and within 0 to 1 inclusive (give or take
    the rounding that numerai-tools forgives), not all the same. `live_ids` are unique and at least one.
    """
    values = np.asarray(predictions.values, dtype=np.float64)
    if not len(predictions.ids) or not len(values):
        return ModelFailure(code="empty_predictions", facts={"detail": ""})
    return _check_ids(predictions.ids, live_ids) or check_values(lambda row: predictions.ids[row], values)


def _check_ids(ids: list[str], live_ids: Sequence[str]) -> ModelFailure | None:
    if ids == live_ids:
        return None
    given, live = set(ids), set(live_ids)
    if len(given) < len(ids):
        repeated = [id_ for id_, times in Counter(ids).items() if times > 1]
        facts = {"count": str(len(repeated)), "example": repeated[0]}
        return ModelFailure(code="duplicate_ids", cause=cause_of_id(repeated[0]), facts=facts)
    if given == live:
        return None
    total = str(len(live))
    for code, those in (
        ("unknown_ids", [id_ for id_ in ids if id_ not in live]),
        ("missing_ids", [id_ for id_ in live_ids if id_ not in given]),
    ):
        if those:
            facts = {"count": str(len(those)), "total": total, "example": those[0]}
            cause = cause_of_id(those[0]) if code == "unknown_ids" else None
            return ModelFailure(code=code, cause=cause, facts=facts)
    return None


def cause_of_id(example: str) -> str | None:
    """Return why an id is not one of the data: it is the number of a row, or that is unknown."""
    return "row_numbers" if example.isdecimal() else None


def check_values(id_of: Callable[[int], str], values: NDArray[np.float64]) -> ModelFailure | None:
    """The first rule that values break, whatever their ids: `id_of` tells that of a row, for the message.

    Values, at least one, are finite and within 0 to 1 inclusive, and not all the same.
    """
    total = str(len(values))
    odd = ~np.isfinite(values)
    if odd.any():
        facts = {"count": str(np.count_nonzero(odd)), "total": total, "example": id_of(int(np.argmax(odd)))}
        cause = "all_missing" if np.isnan(values).all() else None
        return ModelFailure(code="nan_predictions", cause=cause, facts=facts)
    # As numpy.isclose computes it: with another order of rounding, values at the border would differ.
    outside = (values < -_ABSOLUTE) | (values - 1 > _ABSOLUTE + _RELATIVE)
    if outside.any():
        first = int(np.argmax(outside))
        facts = {"count": str(np.count_nonzero(outside)), "total": total}
        return ModelFailure(
            code="out_of_range", facts={**facts, "value": repr(float(values[first])), "example": id_of(first)}
        )
    # One prediction alone has no deviation that could be too small.
    if len(values) > 1:
        deviation = float(values.std(ddof=1))
        if deviation <= _ABSOLUTE + _RELATIVE * deviation:
            return ModelFailure(code="constant_predictions", facts={"value": repr(float(values[0]))})
    return None
