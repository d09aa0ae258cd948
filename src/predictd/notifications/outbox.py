"""The transactional outbox: one notification per event, written in the transaction of the event."""

from datetime import datetime

from sqlalchemy.orm import Session

from predictd.db.models import Diagnostics, Pickle, Round, Run
from predictd.db.notification_tables import Notification
from predictd.domain.notification_types import Event


def notify_run(session: Session, run: Run, event: Event, now: datetime) -> None:
    """Add a notification that a run, or the scoring of an uploaded file, has ended."""
    owner: Pickle | Diagnostics | None = None
    if run.pickle_id is not None:
        owner = session.get(Pickle, run.pickle_id)
    elif run.diagnostics_id is not None:
        owner = session.get(Diagnostics, run.diagnostics_id)
    if owner is None:
        return
    session.add(
        Notification(
            event=event,
            account_id=owner.account_id,
            run_id=run.id,
            round_id=run.round_id,
            inserted_at=now,
        )
    )
    session.flush()


def notify_round(session: Session, round_: Round, now: datetime) -> None:
    """Add a notification to all accounts that the round has opened."""
    session.add(Notification(event=Event.ROUND_OPEN, round_id=round_.id, inserted_at=now))
    session.flush()
