"""What happened, written down in the transaction in which it did: one row, whoever is to be told of it."""

from datetime import datetime

from sqlalchemy.orm import Session

from predictd.db.models import Diagnostics, Pickle, Round, Trigger
from predictd.db.notice_tables import Notification
from predictd.domain.notices import Event


def tell_of_run(session: Session, trigger: Trigger, event: Event, now: datetime) -> None:
    """The run, or the scoring of an uploaded file, has ended so."""
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


def tell_of_round(session: Session, round_: Round, now: datetime) -> None:
    """The round has opened, which concerns every account."""
    session.add(Notification(event=Event.ROUND_OPEN, round_id=round_.id, inserted_at=now))
    session.flush()
