"""The webhooks of an account: their URLs, events and tests."""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Account
from predictd.db.notification_tables import Delivery, Notification, WebhookEndpoint
from predictd.domain.errors import ConflictError, InvalidInputError, NotFoundError
from predictd.domain.names import check_url
from predictd.domain.notification_types import Channel, DeliveryState, Event
from predictd.notifications.email_addresses import enqueue_message

MAX_ENDPOINTS = 10
MAX_TESTS = 20
SECRET_PREFIX = "whsec_"  # noqa: S105 (as Standard Webhooks has it)
_SECRET_BYTES = 32
ENDPOINT_DELETED = "The webhook was deleted."


def list_endpoints(session: Session, account: Account) -> Sequence[WebhookEndpoint]:
    """Return the webhooks of the account, oldest first."""
    return session.scalars(
        sa.select(WebhookEndpoint)
        .where(WebhookEndpoint.account_id == account.id, WebhookEndpoint.deleted_at.is_(None))
        .order_by(WebhookEndpoint.inserted_at, WebhookEndpoint.id)
    ).all()


def get_endpoint(session: Session, account: Account, endpoint_id: str) -> WebhookEndpoint:
    """Return the webhook with this id if it belongs to the account.

    Raises:
        NotFoundError: there is no such webhook of this account.
    """
    endpoint = session.get(WebhookEndpoint, endpoint_id)
    if endpoint is None or endpoint.account_id != account.id or endpoint.deleted_at is not None:
        raise NotFoundError(f"There is no webhook {endpoint_id[:64]!r}.")
    return endpoint


def add_endpoint(
    session: Session, account: Account, url: str, events: Sequence[Event], now: datetime
) -> WebhookEndpoint:
    """Add a webhook; show its `secret` only once.

    Raises:
        InvalidInputError: the URL is not an absolute http or https URL, or there are no events.
        ConflictError: the account has the maximum number of webhooks.
    """
    check_url("webhook", url)
    if not events:
        raise InvalidInputError("Choose at least one event for the webhook.")
    if len(list_endpoints(session, account)) >= MAX_ENDPOINTS:
        raise ConflictError(f"An account has at most {MAX_ENDPOINTS} webhooks; delete one first.")
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
    """Set the events of the webhook.

    Raises:
        InvalidInputError: there are no events.
    """
    if not events:
        raise InvalidInputError("Choose at least one event, or delete the webhook.")
    endpoint.events = [event.value for event in events]


def delete_endpoint(session: Session, endpoint: WebhookEndpoint, now: datetime) -> None:
    """Delete the webhook and cancel its pending deliveries; past deliveries stay in the list."""
    endpoint.deleted_at = now
    endpoint.secret = ""
    session.execute(
        sa.update(Delivery)
        .where(Delivery.endpoint_id == endpoint.id, Delivery.state == DeliveryState.PENDING)
        .values(state=DeliveryState.FAILED, result=ENDPOINT_DELETED, ended_at=now, claimed_by=None)
        .execution_options(synchronize_session=False)
    )
    session.flush()


def send_test(session: Session, account: Account, endpoint: WebhookEndpoint | None, now: datetime) -> None:
    """Queue a test message to the webhook, or to the email address of the account.

    Raises:
        ConflictError: the account has no confirmed address.
        InvalidInputError: there were too many tests recently.
    """
    if endpoint is None and (account.email is None or account.email_confirmed_at is None):
        raise ConflictError("Your email address is not confirmed; confirm it first.")
    recent = sa.select(sa.func.count()).where(
        Notification.account_id == account.id,
        Notification.event == Event.TEST,
        Notification.inserted_at > now - timedelta(hours=1),
    )
    if (session.scalar(recent) or 0) >= MAX_TESTS:
        raise InvalidInputError(f"{MAX_TESTS} tests were sent within an hour, which is the limit; try again later.")
    if endpoint is None:
        enqueue_message(session, account, Event.TEST, Channel.EMAIL, account.email or "", now)
        return
    # Earlier failures must not delay the test.
    endpoint.failures = 0
    enqueue_message(session, account, Event.TEST, Channel.WEBHOOK, endpoint.url, now, endpoint.id)


def list_deliveries(session: Session, account: Account, limit: int) -> Sequence[Delivery]:
    """Return the recent deliveries of the account, newest first."""
    return session.scalars(
        sa.select(Delivery)
        .where(Delivery.account_id == account.id)
        .order_by(Delivery.inserted_at.desc(), Delivery.id)
        .limit(limit)
    ).all()
