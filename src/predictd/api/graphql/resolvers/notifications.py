"""Notifications: email settings, webhooks, and deliveries."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ariadne import MutationType, QueryType
from sqlalchemy.orm import Session

from predictd.api.graphql.resolvers.objects import Info, Object, context_of
from predictd.db.models import Account
from predictd.db.notification_tables import Delivery, WebhookEndpoint
from predictd.domain.notification_types import DeliveryState, Event, chosen_events
from predictd.http.context import Context
from predictd.notifications.email_addresses import send_confirmation, set_address
from predictd.notifications.email_content import title_of
from predictd.notifications.endpoints import (
    add_endpoint,
    delete_endpoint,
    get_endpoint,
    list_deliveries,
    list_endpoints,
    send_test,
    set_endpoint_events,
)
from predictd.notifications.preferences import email_events, set_email_events

query = QueryType()
mutation = MutationType()

MAX_DELIVERIES = 500


@query.field("notificationSettings")
def resolve_notification_settings(_: Any, info: Info) -> Object:
    """Return the notification settings of the account."""
    context = context_of(info)
    return _settings(context, context.account("read_user_info"))


@query.field("notificationDeliveries")
def resolve_notification_deliveries(_: Any, info: Info, limit: int | None = 50) -> list[Object]:
    """Return the recent deliveries to the account."""
    context = context_of(info)
    account = context.account("read_user_info")
    count = min(max(limit if limit is not None else 50, 0), MAX_DELIVERIES)
    return [_delivery(delivery) for delivery in list_deliveries(context.session, account, count)]


@mutation.field("setNotificationEmail")
def resolve_set_notification_email(_: Any, info: Info, email: str | None = None) -> Object:
    """Set the email address and send the link that confirms it."""
    context = context_of(info)
    with _write_account(context) as (session, account):
        if set_address(session, account, email, context.now) and context.settings.smtp_url:
            send_confirmation(session, account, context.now)
    return _settings(context, context.load(Account, account.id))


@mutation.field("setEmailEvents")
def resolve_set_email_events(_: Any, info: Info, events: list[str]) -> Object:
    """Set for which events email is sent."""
    context = context_of(info)
    with _write_account(context) as (_session, account):
        set_email_events(account, chosen_events(events), context.now)
    return _settings(context, context.load(Account, account.id))


@mutation.field("addWebhookEndpoint")
def resolve_add_webhook_endpoint(_: Any, info: Info, url: str, events: list[str]) -> Object:
    """Create a webhook and return it with its signing secret."""
    context = context_of(info)
    with _write_account(context) as (session, account):
        endpoint = add_endpoint(session, account, url, chosen_events(events), context.now)
    return _endpoint(endpoint) | {"secret": endpoint.secret}


@mutation.field("setWebhookEvents")
def resolve_set_webhook_events(_: Any, info: Info, id: str, events: list[str]) -> Object:
    """Set for which events a webhook is called."""
    context = context_of(info)
    with _write_account(context) as (session, account):
        endpoint = get_endpoint(session, account, id)
        set_endpoint_events(endpoint, chosen_events(events))
    return _endpoint(endpoint)


@mutation.field("deleteWebhookEndpoint")
def resolve_delete_webhook_endpoint(_: Any, info: Info, id: str) -> bool:
    """Delete a webhook."""
    context = context_of(info)
    with _write_account(context) as (session, account):
        delete_endpoint(session, get_endpoint(session, account, id), context.now)
    return True


@mutation.field("testNotification")
def resolve_test_notification(_: Any, info: Info, webhookId: str | None = None) -> bool:
    """Send a test notification; its result is among the deliveries."""
    context = context_of(info)
    with _write_account(context) as (session, account):
        endpoint = get_endpoint(session, account, webhookId) if webhookId is not None else None
        send_test(session, account, endpoint, context.now)
    return True


@contextmanager
def _write_account(context: Context) -> Iterator[tuple[Session, Account]]:
    """Begin a writing transaction and yield it with the account of the request."""
    account = context.account("upload_submission")
    with context.write() as session:
        yield session, session.get_one(Account, account.id)


def _settings(context: Context, account: Account) -> Object:
    return {
        "email": account.email,
        "emailConfirmed": account.email_confirmed_at is not None,
        "sendsEmail": bool(context.settings.smtp_url),
        "emailEvents": [event.value for event in email_events(account)],
        "webhooks": lambda info: [_endpoint(endpoint) for endpoint in list_endpoints(context.session, account)],
    }


def _endpoint(endpoint: WebhookEndpoint) -> Object:
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "events": endpoint.events,
        "failures": endpoint.failures,
        "insertedAt": endpoint.inserted_at,
    }


def _delivery(delivery: Delivery) -> Object:
    notification = delivery.notification
    return {
        "id": delivery.id,
        "event": notification.event,
        "title": title_of(Event(notification.event), notification.facts or {}),
        "channel": delivery.channel,
        "target": delivery.target,
        "status": delivery.state,
        "attempts": delivery.attempt,
        "answer": delivery.result,
        "insertedAt": delivery.inserted_at,
        "nextAttemptAt": delivery.not_before if delivery.state == DeliveryState.PENDING else None,
    }
