"""Runs, as they are stored."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from predictd.db.models import Pickle, Trigger

# SQLite takes some thousands of parameters in a query.
_AT_ONCE = 500


def newest_states(session: Session, pickle_ids: Sequence[str]) -> dict[str, str | None]:
    """The state of the newest run of each pickle, diagnostics aside; None where it never ran."""
    newest = (
        select(Trigger.state)
        .where(Trigger.pickle_id == Pickle.id, Trigger.diagnostics_id.is_(None))
        .order_by(Trigger.inserted_at.desc())
        .limit(1)
        .correlate(Pickle)
        .scalar_subquery()
    )
    states: dict[str, str | None] = dict.fromkeys(pickle_ids)
    for start in range(0, len(pickle_ids), _AT_ONCE):
        some = pickle_ids[start : start + _AT_ONCE]
        for pickle_id, state in session.execute(select(Pickle.id, newest).where(Pickle.id.in_(some))):
            states[pickle_id] = state
    return states
