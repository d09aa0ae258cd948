"""Fan-out of notifications to deliveries, by the preferences of accounts."""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Account
from predictd.db.notification_tables import Delivery, Notification, WebhookEndpoint
from predictd.domain.notification_types import Channel, DeliveryState, Event
from predictd.notifications.payload import notification_facts
from predictd.notifications.preferences import wants_email

BATCH_SIZE = 100


def has_pending_notifications(session: Session) -> bool:
    """Return whether a notification has no deliveries yet."""
    return session.scalar(sa.select(Notification.id).where(Notification.fanned_out_at.is_(None)).limit(1)) is not None


def fan_out(session: Session, now: datetime, *, address: str, sends_mail: bool, batch_seconds: float) -> int:
    """Create the deliveries of pending notifications, oldest first. Notifications without recipients are deleted.

    Args:
        address: URL of the server, for links.
        sends_mail: whether there is a mail server.
        batch_seconds: how long an email waits for further messages.

    Returns:
        The number of processed notifications.
    """
    pending = session.scalars(
        sa.select(Notification)
        .where(Notification.fanned_out_at.is_(None))
        .order_by(Notification.inserted_at)
        .limit(BATCH_SIZE)
        .with_for_update(skip_locked=True)
    ).all()
    for notification in pending:
        facts = notification_facts(session, notification, address)
        messages = _webhooks(session, notification, now) if facts is not None else []
        if facts is not None and sends_mail:
            messages += _emails(session, notification, now, now + timedelta(seconds=batch_seconds))
        if not messages:
            session.delete(notification)
            continue
        notification.facts = facts
        notification.fanned_out_at = now
        session.flush()
        session.execute(sa.insert(Delivery), messages)
    session.flush()
    return len(pending)


def _webhooks(session: Session, notification: Notification, now: datetime) -> list[dict[str, Any]]:
    query = sa.select(WebhookEndpoint).where(WebhookEndpoint.deleted_at.is_(None))
    if notification.account_id is not None:
        query = query.where(WebhookEndpoint.account_id == notification.account_id)
    return [
        _message(notification, endpoint.account_id, Channel.WEBHOOK, endpoint.url, now, now)
        | {"endpoint_id": endpoint.id}
        for endpoint in session.scalars(query)
        if notification.event in endpoint.events
    ]


def _emails(session: Session, notification: Notification, now: datetime, due: datetime) -> list[dict[str, Any]]:
    query = sa.select(Account.id, Account.email, Account.email_preferences).where(
        Account.email.is_not(None), Account.email_confirmed_at.is_not(None)
    )
    if notification.account_id is not None:
        query = query.where(Account.id == notification.account_id)
    return [
        _message(notification, row.id, Channel.EMAIL, row.email, now, due)
        for row in session.execute(query)
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
