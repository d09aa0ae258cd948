"""Batching of messages into emails.

All due messages of an account go into one email. The success of a round run waits for the other runs of the account for
the round, at most an hour, and an account gets a limited number of emails per hour; further messages are batched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Account, Pickle, Run
from predictd.db.notification_tables import Delivery
from predictd.domain.notification_types import CHOICES, Channel, DeliveryState, Event
from predictd.domain.states import ACTIVE, RunType
from predictd.notifications.deliveries import DeliveryPolicy, claim, next_due
from predictd.notifications.email_content import (
    EmailContent,
    build_confirmation_email,
    build_event_email,
    build_test_email,
)
from predictd.notifications.preferences import wants_email
from predictd.notifications.signed_tokens import confirmation_token, link_signing_key_of, unsubscribe_token

ROUND_SECONDS = 3600.0
UNSUBSCRIBED = "Not sent: the event was turned off, or the address was changed."


@dataclass(frozen=True, kw_only=True)
class ClaimedEmail:
    """A claimed email; `id` is the same for each attempt."""

    id: str
    to: str
    content: EmailContent
    attempt: int


def claim_email(
    session: Session, claimed_by: str, now: datetime, lease_seconds: float, *, policy: DeliveryPolicy, address: str
) -> ClaimedEmail | None:
    """Claim the messages of the next email; return None if none is due or it has to wait.

    A retried email has the same messages, so that its id stays valid.
    """
    first = next_due(session, Channel.EMAIL, now)
    if first is None:
        return None
    # Every server locks the account before its messages, to avoid deadlocks.
    account = session.get_one(Account, first.account_id, with_for_update={"key_share": True}, populate_existing=True)
    session.refresh(first)
    if first.state != DeliveryState.PENDING or first.not_before > now:
        return None
    messages = _drop_unsubscribed(session, account, _batch_of(session, first), now)
    if first.mail_id is None and messages:
        if first.notification.event in CHOICES:
            messages = _postpone_early(session, account, messages, now, policy)
        for message in messages:
            message.mail_id = messages[0].id
    if not messages:
        session.flush()
        return None
    claim(session, messages, claimed_by, now, lease_seconds)
    content = _email_content(account, messages, now, address)
    return ClaimedEmail(
        id=messages[0].mail_id or "", to=messages[0].target, content=content, attempt=messages[0].attempt
    )


def _batch_of(session: Session, first: Delivery) -> list[Delivery]:
    """Return the messages that go into the same email."""
    if first.mail_id is None and first.notification.event not in CHOICES:
        return [first]
    in_batch = Delivery.mail_id == first.mail_id if first.mail_id is not None else Delivery.mail_id.is_(None)
    deliveries = session.scalars(
        sa.select(Delivery)
        .where(
            Delivery.account_id == first.account_id,
            Delivery.channel == Channel.EMAIL,
            Delivery.state == DeliveryState.PENDING,
            in_batch,
        )
        .order_by(Delivery.inserted_at, Delivery.id)
        .execution_options(populate_existing=True)
    ).all()
    return [delivery for delivery in deliveries if first.mail_id is not None or delivery.notification.event in CHOICES]


def _drop_unsubscribed(
    session: Session, account: Account, messages: Sequence[Delivery], now: datetime
) -> list[Delivery]:
    """Return the messages that the account still wants; the others fail."""
    wanted_messages = []
    for message in messages:
        event = Event(message.notification.event)
        is_confirmed = account.email_confirmed_at is not None or event is Event.CONFIRMATION
        if is_confirmed and message.target == account.email and wants_email(account.email_preferences, event):
            wanted_messages.append(message)
            continue
        message.state, message.result, message.ended_at = DeliveryState.FAILED, UNSUBSCRIBED, now
    session.flush()
    return wanted_messages


def _postpone_early(
    session: Session, account: Account, messages: list[Delivery], now: datetime, policy: DeliveryPolicy
) -> list[Delivery]:
    """Return the messages to send now; postpone the others."""
    free_at = _rate_limited_until(session, account, now, policy)
    if free_at is not None:
        for message in messages:
            message.not_before = free_at
        return []
    running = _running_rounds(session, account)
    ready = []
    for message in messages:
        is_success = message.notification.event == Event.RUN_SUCCEEDED
        is_for_round = (message.notification.facts or {}).get("run", {}).get("type") == RunType.LIVE
        may_wait = message.inserted_at > now - timedelta(seconds=ROUND_SECONDS)
        if is_success and is_for_round and may_wait and message.notification.round_id in running:
            message.not_before = now + timedelta(seconds=policy.batch_seconds)
        else:
            ready.append(message)
    return ready


def _rate_limited_until(session: Session, account: Account, now: datetime, policy: DeliveryPolicy) -> datetime | None:
    """Return when the account may get its next email, None for now."""
    sent = session.execute(
        sa.select(sa.func.max(Delivery.ended_at))
        .where(
            Delivery.account_id == account.id,
            Delivery.channel == Channel.EMAIL,
            Delivery.state == DeliveryState.DELIVERED,
            Delivery.ended_at > now - timedelta(hours=1),
        )
        .group_by(Delivery.mail_id)
    ).scalars()
    times = sorted(time for time in sent if time is not None)
    return times[-policy.emails_per_hour] + timedelta(hours=1) if len(times) >= policy.emails_per_hour else None


def _running_rounds(session: Session, account: Account) -> set[str | None]:
    """Return the rounds for which the account has active runs."""
    round_ids = session.scalars(
        sa.select(Run.round_id)
        .join(Pickle, Pickle.id == Run.pickle_id)
        .where(Pickle.account_id == account.id, Run.state.in_(ACTIVE), Run.round_id.is_not(None))
        .distinct()
    )
    return set(round_ids)


def _email_content(account: Account, messages: Sequence[Delivery], now: datetime, address: str) -> EmailContent:
    settings_url = f"{address}/account/notifications"
    event = Event(messages[0].notification.event)
    if event is Event.CONFIRMATION:
        url = f"{address}/account/confirm/{confirmation_token(account, now)}"
        return build_confirmation_email(account.username, url, settings_url)
    if event is Event.TEST:
        return build_test_email(account.username, settings_url)
    notifications = sorted(
        (notification.notification for notification in messages), key=lambda notification: notification.inserted_at
    )
    occurrences = [(Event(notification.event), notification.facts or {}) for notification in notifications]
    events = [event for event in CHOICES if any(event is listed for listed, _ in occurrences)]
    link_signing_key_of(account)
    return build_event_email(occurrences, settings_url, f"{address}/unsubscribe/{unsubscribe_token(account, events)}")
