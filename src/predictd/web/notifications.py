"""Notifications: the e-mail address and its confirmation, what to be told of, webhooks, what was sent."""

from dataclasses import dataclass
from datetime import datetime

from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from predictd.api.app import Services
from predictd.db.models import Account
from predictd.db.notice_tables import Delivery, WebhookEndpoint
from predictd.domain.notices import CHOICES, Channel, DeliveryState, Event
from predictd.notifications.addresses import ask_to_confirm, confirm, set_address
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
from predictd.notifications.signed_tokens import confirmed_account, unsubscribed
from predictd.web.headers import secured
from predictd.web.visits import Visit, form_route, page_route

PAGE = "/account/notifications"
SHOWN_DELIVERIES = 50
_STATES = {
    DeliveryState.DELIVERED: ("Delivered", "submission_succeeded"),
    DeliveryState.PENDING: ("Pending", "running"),
    DeliveryState.FAILED: ("Failed", "model_failed"),
}


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A row of what was sent; `due` is when it is tried next."""

    at: datetime
    what: str
    channel: str
    target: str
    state: str
    look: str
    attempts: int
    answer: str
    due: datetime | None

    @classmethod
    def of(cls, delivery: Delivery) -> "Sent":
        """From a message."""
        happened = delivery.notification
        state, look = _STATES[DeliveryState(delivery.state)]
        return cls(
            at=delivery.inserted_at,
            what=title_of(Event(happened.event), happened.facts or {}),
            channel="Email" if delivery.channel == Channel.EMAIL else "Webhook",
            target=delivery.target,
            state=state,
            look=look,
            attempts=delivery.attempt,
            answer=delivery.answer or "",
            due=delivery.not_before if delivery.state == DeliveryState.PENDING else None,
        )


def notification_routes(services: Services) -> list[Route]:
    """The routes of these pages."""
    return [
        page_route(services, PAGE, show_notifications),
        form_route(services, f"{PAGE}/address", change_address, show_notifications),
        form_route(services, f"{PAGE}/link", send_link, show_notifications),
        form_route(services, f"{PAGE}/email", choose_email, show_notifications),
        form_route(services, f"{PAGE}/test", test_email, show_notifications),
        form_route(services, f"{PAGE}/webhooks", add_webhook, show_notifications),
        form_route(services, f"{PAGE}/webhooks/{{id}}", choose_webhook, show_notifications),
        form_route(services, f"{PAGE}/webhooks/{{id}}/test", test_webhook, show_notifications),
        form_route(services, f"{PAGE}/webhooks/{{id}}/delete", delete_webhook, show_notifications),
        page_route(services, "/account/confirm/{token}", show_confirmation),
        form_route(services, "/account/confirm/{token}", confirm_address),
        page_route(services, "/unsubscribe/{token}", show_unsubscription),
        # Mail programs send this without a page, a cookie or a form: the signed link is what proves it.
        form_route(services, "/unsubscribe/{token}", unsubscribe, proven_by_link=True),
    ]


def show_notifications(visit: Visit, new: WebhookEndpoint | None = None) -> Response:
    """The whole page; `new` is a webhook that was just made, whose secret is shown this once."""
    account = visit.account
    return visit.page(
        "notifications.html",
        choices=CHOICES,
        sends_mail=bool(visit.services.settings.smtp_url),
        account=account,
        wanted=email_events(account),
        endpoints=list_endpoints(visit.session, account),
        new=new,
        sent=[Sent.of(one) for one in list_deliveries(visit.session, account, SHOWN_DELIVERIES)],
    )


def change_address(visit: Visit) -> Response:
    """Keep another address and send the link that confirms it."""
    with visit.write() as session:
        account = session.get_one(Account, visit.account.id)
        is_open = set_address(session, account, visit.form.get("address"), visit.now)
        is_asked = is_open and bool(visit.services.settings.smtp_url)
        if is_asked:
            ask_to_confirm(session, account, visit.now)
    return visit.go(PAGE, "address" if is_asked else "address-unconfirmed" if account.email else "address-removed")


def send_link(visit: Visit) -> Response:
    """Send the link that confirms the address once more."""
    with visit.write() as session:
        ask_to_confirm(session, session.get_one(Account, visit.account.id), visit.now)
    return visit.go(PAGE, "address")


def choose_email(visit: Visit) -> Response:
    """Keep of which events e-mails are wanted."""
    with visit.write() as session:
        set_email_events(session.get_one(Account, visit.account.id), _chosen(visit), visit.now)
    return visit.go(PAGE, "events")


def test_email(visit: Visit) -> Response:
    """Send an e-mail to see whether it arrives."""
    with visit.write() as session:
        send_test(session, session.get_one(Account, visit.account.id), None, visit.now)
    return visit.go(PAGE, "test")


def add_webhook(visit: Visit) -> Response:
    """Add a webhook and show its secret."""
    url = visit.form.get("url", "").strip()
    with visit.write() as session:
        new = add_endpoint(session, session.get_one(Account, visit.account.id), url, _chosen(visit), visit.now)
    visit.session.rollback()
    return show_notifications(visit, new)


def choose_webhook(visit: Visit) -> Response:
    """Keep for which events the webhook is called."""
    with visit.write() as session:
        set_endpoint_events(get_endpoint(session, visit.account, visit.part("id")), _chosen(visit))
    return visit.go(PAGE, "events")


def test_webhook(visit: Visit) -> Response:
    """Call the webhook to see whether it answers."""
    with visit.write() as session:
        endpoint = get_endpoint(session, visit.account, visit.part("id"))
        send_test(session, session.get_one(Account, visit.account.id), endpoint, visit.now)
    return visit.go(PAGE, "test")


def delete_webhook(visit: Visit) -> Response:
    """Take a webhook away."""
    with visit.write() as session:
        delete_endpoint(session, get_endpoint(session, visit.account, visit.part("id")), visit.now)
    return visit.go(PAGE, "webhook-deleted")


def show_confirmation(visit: Visit) -> Response:
    """Ask for the press of a button: programs that look for harm follow links too."""
    account = confirmed_account(visit.session, visit.part("token"), visit.now)
    return visit.page("email_link.html", account=account, events=None, is_done=False)


def confirm_address(visit: Visit) -> Response:
    """The address is its owner's."""
    with visit.write() as session:
        account = confirm(session, visit.part("token"), visit.now)
    return visit.page("email_link.html", account=account, events=None, is_done=True)


def show_unsubscription(visit: Visit) -> Response:
    """Ask for the press of a button, for the same reason."""
    account, events = unsubscribed(visit.session, visit.part("token"))
    return visit.page("email_link.html", account=account, events=[CHOICES[one] for one in events], is_done=False)


def unsubscribe(visit: Visit) -> Response:
    """End e-mails about what the mail was about."""
    with visit.write() as session:
        account, events = unsubscribed(session, visit.part("token"))
        set_email_events(account, set(email_events(account)) - set(events), visit.now)
    if "text/html" not in visit.request.headers.get("accept", ""):
        return secured(PlainTextResponse("unsubscribed\n"))
    return visit.page("email_link.html", account=account, events=[CHOICES[one] for one in events], is_done=True)


def _chosen(visit: Visit) -> list[Event]:
    return [event for event in CHOICES if visit.form.get(f"event-{event}")]
