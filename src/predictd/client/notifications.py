"""Notifications of the account, as methods; a server of the contract alone has none of them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from predictd.client.client import Client
from predictd.domain.errors import NotFoundError
from predictd.domain.notices import Event

_WEBHOOK = "id url events failures insertedAt"
_SETTINGS = f"email emailConfirmed sendsEmail emailEvents webhooks {{ {_WEBHOOK} }}"
SETTINGS = f"query {{ notificationSettings {{ {_SETTINGS} }} }}"
DELIVERIES = """query($limit: Int) { notificationDeliveries(limit: $limit) {
    id event title channel target status attempts answer insertedAt nextAttemptAt
} }"""
SET_EMAIL = f"mutation($email: String) {{ setNotificationEmail(email: $email) {{ {_SETTINGS} }} }}"
SET_EMAIL_EVENTS = f"""mutation($events: [NotificationEvent!]!) {{
  setEmailEvents(events: $events) {{ {_SETTINGS} }}
}}"""
ADD_WEBHOOK = """mutation($url: String!, $events: [NotificationEvent!]!) {
  addWebhookEndpoint(url: $url, events: $events) { id url events secret }
}"""
DELETE_WEBHOOK = "mutation($id: ID!) { deleteWebhookEndpoint(id: $id) }"
TEST = "mutation($id: ID) { testNotification(webhookId: $id) }"


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """An address that is called; `secret` is known only when it is made."""

    id: str
    url: str
    events: tuple[str, ...]
    failures: int = 0
    secret: str | None = None
    inserted_at: datetime | None = None

    @classmethod
    def of(cls, answer: dict[str, Any]) -> "Webhook":
        """From the types WebhookEndpoint and NewWebhookEndpoint."""
        return cls(
            id=str(answer["id"]),
            url=str(answer["url"]),
            events=tuple(answer.get("events") or ()),
            failures=int(answer.get("failures") or 0),
            secret=answer.get("secret"),
            inserted_at=_time(answer.get("insertedAt")),
        )


@dataclass(frozen=True, kw_only=True)
class NotificationSettings:
    """What the account is told of; e-mail goes to a confirmed address, from a server that sends some."""

    email: str | None
    is_confirmed: bool
    sends_email: bool
    email_events: tuple[str, ...]
    webhooks: tuple[Webhook, ...]

    @classmethod
    def of(cls, answer: dict[str, Any]) -> "NotificationSettings":
        """From the type NotificationSettings."""
        return cls(
            email=answer.get("email"),
            is_confirmed=bool(answer.get("emailConfirmed")),
            sends_email=bool(answer.get("sendsEmail")),
            email_events=tuple(answer.get("emailEvents") or ()),
            webhooks=tuple(Webhook.of(one) for one in answer.get("webhooks") or ()),
        )


@dataclass(frozen=True, kw_only=True)
class SentNotification:
    """One message; `status` is pending, delivered or failed."""

    id: str
    title: str
    channel: str
    target: str
    status: str
    attempts: int
    answer: str | None
    inserted_at: datetime | None
    next_attempt_at: datetime | None

    @classmethod
    def of(cls, answer: dict[str, Any]) -> "SentNotification":
        """From the type NotificationDelivery."""
        return cls(
            id=str(answer["id"]),
            title=str(answer.get("title") or ""),
            channel=str(answer.get("channel") or ""),
            target=str(answer.get("target") or ""),
            status=str(answer.get("status") or ""),
            attempts=int(answer.get("attempts") or 0),
            answer=answer.get("answer"),
            inserted_at=_time(answer.get("insertedAt")),
            next_attempt_at=_time(answer.get("nextAttemptAt")),
        )


class Notifications:
    """The notifications of a client's account."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def settings(self) -> NotificationSettings:
        """What the account is told of, and where."""
        return NotificationSettings.of(self._client.graphql(SETTINGS)["notificationSettings"])

    def set_email(self, address: str | None) -> NotificationSettings:
        """Keep another address, to which a link is sent that confirms it; None for no e-mail."""
        return NotificationSettings.of(self._client.graphql(SET_EMAIL, {"email": address})["setNotificationEmail"])

    def set_email_events(self, events: list[Event]) -> NotificationSettings:
        """Want e-mails about these events and no others."""
        names = [event.value for event in events]
        return NotificationSettings.of(self._client.graphql(SET_EMAIL_EVENTS, {"events": names})["setEmailEvents"])

    def add_webhook(self, url: str, events: list[Event]) -> Webhook:
        """Add a webhook; it has its `secret` this once."""
        variables = {"url": url, "events": [event.value for event in events]}
        return Webhook.of(self._client.graphql(ADD_WEBHOOK, variables)["addWebhookEndpoint"])

    def webhook(self, name: str) -> Webhook:
        """The webhook of that id, beginning of an id, or address; NotFoundError if it is none or several."""
        found = [one for one in self.settings().webhooks if one.url == name or one.id.startswith(name)]
        if len(found) != 1:
            raise NotFoundError(f"There is no one webhook {name[:80]!r}; predictd notifications show lists them.")
        return found[0]

    def delete_webhook(self, webhook: Webhook) -> None:
        """Take a webhook away."""
        self._client.graphql(DELETE_WEBHOOK, {"id": webhook.id})

    def test(self, webhook: Webhook | None = None) -> None:
        """Send a test to the webhook, or to the e-mail address."""
        self._client.graphql(TEST, {"id": webhook.id if webhook is not None else None})

    def sent(self, limit: int = 50) -> list[SentNotification]:
        """What was sent of late, newest first."""
        answer = self._client.graphql(DELIVERIES, {"limit": limit})
        return [SentNotification.of(one) for one in answer["notificationDeliveries"]]


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
