"""The transactional outbox: one notification per event, written in the transaction of the event."""

from datetime import datetime

from sqlalchemy.orm import Session

from predictd.db.models import Diagnostics, Pickle, Round, Trigger
from predictd.db.notification_tables import Notification
from predictd.domain.notification_types import Event


def notify_run(session: Session, trigger: Trigger, event: Event, now: datetime) -> None:
    """Add a notification that a run, or the scoring of an uploaded file, has ended."""
    owner: Pickle | Diagnostics | None = None
    if trigger.pickle_id is not None:
        owner = session.get(Pickle, trigger.pickle_id)
    elif trigger.diagnostics_id is not None:
        owner = session.get(Diagnostics, trigger.diagnostics_id)
    if owner is None:
        return
    session.add(
        Notification(
            event=event,
            account_id=owner.account_id,
            trigger_id=trigger.id,
            round_id=trigger.round_id,
            inserted_at=now,
        )
    )
    session.flush()


def notify_round(session: Session, round_: Round, now: datetime) -> None:
    """Add a notification to all accounts that the round has opened."""
    session.add(Notification(event=Event.ROUND_OPEN, round_id=round_.id, inserted_at=now))
    session.flush()
