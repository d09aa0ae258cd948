"""Notification settings: the email address, the events, webhooks, and recent deliveries."""

from dataclasses import dataclass
from datetime import datetime

from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from predictd.db.models import Account
from predictd.db.notification_tables import Delivery, WebhookEndpoint
from predictd.domain.notification_types import CHOICES, Channel, DeliveryState, Event
from predictd.http.services import Services
from predictd.notifications.email_addresses import confirm_address, send_confirmation, set_address
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
from predictd.notifications.signed_tokens import verify_confirmation_token, verify_unsubscribe_token
from predictd.web.dispatch import page_route
from predictd.web.forms import form_route
from predictd.web.request import PageRequest
from predictd.web.responses import secured

PAGE = "/account/notifications"
MAX_DELIVERIES = 50
_STATES = {
    DeliveryState.DELIVERED: ("Delivered", "submission_succeeded"),
    DeliveryState.PENDING: ("Pending", "running"),
    DeliveryState.FAILED: ("Failed", "model_failed"),
}


@dataclass(frozen=True, kw_only=True)
class DeliveryRow:
    """A row of the recent deliveries; `next_attempt_at` is None after the last attempt."""

    at: datetime
    title: str
    channel: str
    target: str
    state: str
    css_class: str
    attempts: int
    response: str
    next_attempt_at: datetime | None

    @classmethod
    def of(cls, delivery: Delivery) -> "DeliveryRow":
        """Return the row of a delivery."""
        notification = delivery.notification
        state, css_class = _STATES[DeliveryState(delivery.state)]
        return cls(
            at=delivery.inserted_at,
            title=title_of(Event(notification.event), notification.facts or {}),
            channel="Email" if delivery.channel == Channel.EMAIL else "Webhook",
            target=delivery.target,
            state=state,
            css_class=css_class,
            attempts=delivery.attempt,
            response=delivery.result or "",
            next_attempt_at=delivery.not_before if delivery.state == DeliveryState.PENDING else None,
        )


def notification_routes(services: Services) -> list[Route]:
    """Return the routes of these pages."""
    return [
        page_route(services, PAGE, show_notifications),
        form_route(services, f"{PAGE}/address", save_address, show_notifications),
        form_route(services, f"{PAGE}/link", resend_link, show_notifications),
        form_route(services, f"{PAGE}/email", save_email_events, show_notifications),
        form_route(services, f"{PAGE}/test", send_test_email, show_notifications),
        form_route(services, f"{PAGE}/webhooks", add_webhook, show_notifications),
        form_route(services, f"{PAGE}/webhooks/{{id}}", save_webhook_events, show_notifications),
        form_route(services, f"{PAGE}/webhooks/{{id}}/test", send_test_webhook, show_notifications),
        form_route(services, f"{PAGE}/webhooks/{{id}}/delete", delete_webhook, show_notifications),
        page_route(services, "/account/confirm/{token}", show_confirmation),
        form_route(services, "/account/confirm/{token}", confirm),
        page_route(services, "/unsubscribe/{token}", show_unsubscription),
        # Mail clients send this without a cookie or a form; the signed link proves it.
        form_route(services, "/unsubscribe/{token}", unsubscribe, is_csrf_exempt=True),
    ]


def show_notifications(request: PageRequest, new: WebhookEndpoint | None = None) -> Response:
    """Show the page; `new` is a webhook that was just created, whose secret is shown only now."""
    account = request.account
    return request.render(
        "notifications.html",
        choices=CHOICES,
        sends_mail=bool(request.services.settings.smtp_url),
        account=account,
        selected=email_events(account),
        endpoints=list_endpoints(request.session, account),
        new=new,
        deliveries=[DeliveryRow.of(delivery) for delivery in list_deliveries(request.session, account, MAX_DELIVERIES)],
    )


def save_address(request: PageRequest) -> Response:
    """Save the email address and send the link that confirms it."""
    with request.write() as session:
        account = session.get_one(Account, request.account.id)
        is_unconfirmed = set_address(session, account, request.form.get("address"), request.now)
        sends_link = is_unconfirmed and bool(request.services.settings.smtp_url)
        if sends_link:
            send_confirmation(session, account, request.now)
    message = "address" if sends_link else "address-unconfirmed" if account.email else "address-removed"
    return request.redirect(PAGE, message)


def resend_link(request: PageRequest) -> Response:
    """Send the link that confirms the address again."""
    with request.write() as session:
        send_confirmation(session, session.get_one(Account, request.account.id), request.now)
    return request.redirect(PAGE, "address")


def save_email_events(request: PageRequest) -> Response:
    """Save for which events email is sent."""
    with request.write() as session:
        set_email_events(session.get_one(Account, request.account.id), _selected_events(request), request.now)
    return request.redirect(PAGE, "events")


def send_test_email(request: PageRequest) -> Response:
    """Send a test email."""
    with request.write() as session:
        send_test(session, session.get_one(Account, request.account.id), None, request.now)
    return request.redirect(PAGE, "test")


def add_webhook(request: PageRequest) -> Response:
    """Create a webhook and show its secret."""
    url = request.form.get("url", "").strip()
    with request.write() as session:
        new = add_endpoint(
            session, session.get_one(Account, request.account.id), url, _selected_events(request), request.now
        )
    request.session.rollback()
    return show_notifications(request, new)


def save_webhook_events(request: PageRequest) -> Response:
    """Save for which events the webhook is called."""
    with request.write() as session:
        set_endpoint_events(get_endpoint(session, request.account, request.path_param("id")), _selected_events(request))
    return request.redirect(PAGE, "events")


def send_test_webhook(request: PageRequest) -> Response:
    """Send a test event to the webhook."""
    with request.write() as session:
        endpoint = get_endpoint(session, request.account, request.path_param("id"))
        send_test(session, session.get_one(Account, request.account.id), endpoint, request.now)
    return request.redirect(PAGE, "test")


def delete_webhook(request: PageRequest) -> Response:
    """Delete a webhook."""
    with request.write() as session:
        delete_endpoint(session, get_endpoint(session, request.account, request.path_param("id")), request.now)
    return request.redirect(PAGE, "webhook-deleted")


def show_confirmation(request: PageRequest) -> Response:
    """Show a button instead of confirming at once, because link scanners open links too."""
    account = verify_confirmation_token(request.session, request.path_param("token"), request.now)
    return request.render("email_link.html", account=account, events=None, is_done=False)


def confirm(request: PageRequest) -> Response:
    """Confirm the address."""
    with request.write() as session:
        account = confirm_address(session, request.path_param("token"), request.now)
    return request.render("email_link.html", account=account, events=None, is_done=True)


def show_unsubscription(request: PageRequest) -> Response:
    """Show a button instead of unsubscribing at once, for the same reason."""
    account, events = verify_unsubscribe_token(request.session, request.path_param("token"))
    return request.render(
        "email_link.html", account=account, events=[CHOICES[event] for event in events], is_done=False
    )


def unsubscribe(request: PageRequest) -> Response:
    """Stop email for the events of the signed link."""
    with request.write() as session:
        account, events = verify_unsubscribe_token(session, request.path_param("token"))
        set_email_events(account, set(email_events(account)) - set(events), request.now)
    if "text/html" not in request.http.headers.get("accept", ""):
        return secured(PlainTextResponse("unsubscribed\n"))
    return request.render("email_link.html", account=account, events=[CHOICES[event] for event in events], is_done=True)


def _selected_events(request: PageRequest) -> list[Event]:
    return [event for event in CHOICES if request.form.get(f"event-{event}")]
