"""From what happened to the messages about it: who wants to know, and by which channel."""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Account
from predictd.db.notice_tables import Delivery, Notification, WebhookEndpoint
from predictd.domain.notices import Channel, DeliveryState, Event
from predictd.notifications.payload import facts_of
from predictd.notifications.preferences import wants_email

AT_ONCE = 100


def is_anything_to_spread(session: Session) -> bool:
    """Whether something happened of which no messages are made yet."""
    return session.scalar(sa.select(Notification.id).where(Notification.spread_at.is_(None)).limit(1)) is not None


def spread(session: Session, now: datetime, *, address: str, sends_mail: bool, gather_seconds: float) -> int:
    """Make the messages of what happened, the oldest first. What concerns nobody is forgotten at once.

    Args:
        address: that of the server, for links.
        sends_mail: whether there is a mail server.
        gather_seconds: how long an e-mail waits for others to go along with it.

    Returns:
        How many things that happened were seen to.
    """
    waiting = session.scalars(
        sa.select(Notification)
        .where(Notification.spread_at.is_(None))
        .order_by(Notification.inserted_at)
        .limit(AT_ONCE)
        .with_for_update(skip_locked=True)
    ).all()
    for notification in waiting:
        facts = facts_of(session, notification, address)
        messages = _webhooks(session, notification, now) if facts is not None else []
        if facts is not None and sends_mail:
            messages += _mails(session, notification, now, now + timedelta(seconds=gather_seconds))
        if not messages:
            session.delete(notification)
            continue
        notification.facts = facts
        notification.spread_at = now
        session.flush()
        session.execute(sa.insert(Delivery), messages)
    session.flush()
    return len(waiting)


def _webhooks(session: Session, notification: Notification, now: datetime) -> list[dict[str, Any]]:
    found = sa.select(WebhookEndpoint).where(WebhookEndpoint.deleted_at.is_(None))
    if notification.account_id is not None:
        found = found.where(WebhookEndpoint.account_id == notification.account_id)
    return [
        _message(notification, one.account_id, Channel.WEBHOOK, one.url, now, now) | {"endpoint_id": one.id}
        for one in session.scalars(found)
        if notification.event in one.events
    ]


def _mails(session: Session, notification: Notification, now: datetime, due: datetime) -> list[dict[str, Any]]:
    found = sa.select(Account.id, Account.email, Account.email_preferences).where(
        Account.email.is_not(None), Account.email_confirmed_at.is_not(None)
    )
    if notification.account_id is not None:
        found = found.where(Account.id == notification.account_id)
    return [
        _message(notification, row.id, Channel.EMAIL, row.email, now, due)
        for row in session.execute(found)
        if wants_email(row.email_preferences, Event(notification.event))
    ]


def _message(
    notification: Notification, account_id: str, channel: Channel, target: str, now: datetime, due: datetime
) -> dict[str, Any]:
    return {
        "notification_id": notification.id,
        "account_id": account_id,
        "channel": channel.value,
        "endpoint_id": None,
        "target": target,
        "state": DeliveryState.PENDING.value,
        "not_before": due,
        "inserted_at": now,
    }
