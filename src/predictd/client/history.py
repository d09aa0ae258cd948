"""Which pickle served a model before."""

from collections.abc import Sequence
from datetime import UTC, datetime

from predictd.client.models import Model, Pickle, Submission

_BEGINNING = datetime.min.replace(tzinfo=UTC)


def previous_pickle(model: Model, pickles: Sequence[Pickle], submissions: Sequence[Submission]) -> Pickle | None:
    """The newest validated pickle of the model that is older than the one in its slot, or the newest for an empty slot.

    A pickle is the model's when it was uploaded for it, or when one of the model's submissions came from it.

    Args:
        model: the slot.
        pickles: all of the account.
        submissions: all of the model.
    """
    triggers = {one.trigger_id for one in submissions if one.trigger_id}
    current = next((one for one in pickles if one.id == model.pickle_id), None)
    candidates = [
        one
        for one in pickles
        if one.is_validated
        and one.id != model.pickle_id
        and (one.model_id == model.id or any(trigger.id in triggers for trigger in one.triggers))
        and (current is None or _age(one) < _age(current))
    ]
    return max(candidates, key=_age, default=None)


def _age(pickle: Pickle) -> datetime:
    return pickle.inserted_at or _BEGINNING
