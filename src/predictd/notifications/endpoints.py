"""The webhooks of an account: where they are called, for which events, and tests of them."""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Account
from predictd.db.notice_tables import Delivery, Notification, WebhookEndpoint
from predictd.domain.errors import ConflictError, InvalidInputError, NotFoundError
from predictd.domain.names import check_url
from predictd.domain.notices import Channel, DeliveryState, Event
from predictd.notifications.addresses import send_now

MOST_ENDPOINTS = 10
MOST_TESTS = 20
SECRET_PREFIX = "whsec_"  # noqa: S105 (as Standard Webhooks has it)
_SECRET_BYTES = 32
TAKEN_AWAY = "The webhook was deleted."


def list_endpoints(session: Session, account: Account) -> Sequence[WebhookEndpoint]:
    """The account's webhooks, oldest first."""
    return session.scalars(
        sa.select(WebhookEndpoint)
        .where(WebhookEndpoint.account_id == account.id, WebhookEndpoint.deleted_at.is_(None))
        .order_by(WebhookEndpoint.inserted_at, WebhookEndpoint.id)
    ).all()


def get_endpoint(session: Session, account: Account, endpoint_id: str) -> WebhookEndpoint:
    """The account's webhook of that id; another account's answers as an unknown one (NotFoundError)."""
    endpoint = session.get(WebhookEndpoint, endpoint_id)
    if endpoint is None or endpoint.account_id != account.id or endpoint.deleted_at is not None:
        raise NotFoundError(f"There is no webhook {endpoint_id[:64]!r}.")
    return endpoint


def add_endpoint(
    session: Session, account: Account, url: str, events: Sequence[Event], now: datetime
) -> WebhookEndpoint:
    """Add a webhook; its `secret` is to be shown this once.

    Raises:
        InvalidInputError: the address is no whole http or https URL, or there are no events.
        ConflictError: the account has as many as it may.
    """
    check_url("webhook", url)
    if not events:
        raise InvalidInputError("Choose one event or more that the webhook is called for.")
    if len(list_endpoints(session, account)) >= MOST_ENDPOINTS:
        raise ConflictError(f"An account has at most {MOST_ENDPOINTS} webhooks; delete one first.")
    endpoint = WebhookEndpoint(
        account_id=account.id,
        url=url,
        secret=SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode(),
        events=[event.value for event in events],
        inserted_at=now,
    )
    session.add(endpoint)
    session.flush()
    return endpoint


def set_endpoint_events(endpoint: WebhookEndpoint, events: Sequence[Event]) -> None:
    """Call the webhook for these events and no others; InvalidInputError if there are none."""
    if not events:
        raise InvalidInputError("Choose one event or more, or delete the webhook.")
    endpoint.events = [event.value for event in events]


def delete_endpoint(session: Session, endpoint: WebhookEndpoint, now: datetime) -> None:
    """Take the webhook away; what is on its way to it is given up, what was sent stays in the list."""
    endpoint.deleted_at = now
    endpoint.secret = ""
    session.execute(
        sa.update(Delivery)
        .where(Delivery.endpoint_id == endpoint.id, Delivery.state == DeliveryState.PENDING)
        .values(state=DeliveryState.FAILED, answer=TAKEN_AWAY, ended_at=now, claimed_by=None)
        .execution_options(synchronize_session=False)
    )
    session.flush()


def send_test(session: Session, account: Account, endpoint: WebhookEndpoint | None, now: datetime) -> None:
    """Queue a test: to the webhook, or to the account's e-mail address.

    Raises:
        ConflictError: the account has no address that is confirmed.
        InvalidInputError: there were too many tests of late.
    """
    if endpoint is None and (account.email is None or account.email_confirmed_at is None):
        raise ConflictError("Confirm your e-mail address first; nothing else is sent to it before.")
    recent = sa.select(sa.func.count()).where(
        Notification.account_id == account.id,
        Notification.event == Event.TEST,
        Notification.inserted_at > now - timedelta(hours=1),
    )
    if (session.scalar(recent) or 0) >= MOST_TESTS:
        raise InvalidInputError(f"There were {MOST_TESTS} tests within an hour, which is the most; try again later.")
    if endpoint is None:
        send_now(session, account, Event.TEST, Channel.EMAIL, account.email or "", now)
        return
    # What failed before the test says nothing of now.
    endpoint.failures = 0
    send_now(session, account, Event.TEST, Channel.WEBHOOK, endpoint.url, now, endpoint.id)


def list_deliveries(session: Session, account: Account, limit: int) -> Sequence[Delivery]:
    """What was sent to the account of late, or is on its way, newest first."""
    return session.scalars(
        sa.select(Delivery)
        .where(Delivery.account_id == account.id)
        .order_by(Delivery.inserted_at.desc(), Delivery.id)
        .limit(limit)
    ).all()
