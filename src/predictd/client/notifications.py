"""The notifications of an account, as methods. Only predictd's servers support them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from predictd.client.client import Client
from predictd.domain.errors import NotFoundError
from predictd.domain.notification_types import Event

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
    """A webhook; `secret` is only set on creation."""

    id: str
    url: str
    events: tuple[str, ...]
    failures: int = 0
    secret: str | None = None
    inserted_at: datetime | None = None

    @classmethod
    def of(cls, data: dict[str, Any]) -> "Webhook":
        """Create it from the GraphQL type WebhookEndpoint and NewWebhookEndpoint."""
        return cls(
            id=str(data["id"]),
            url=str(data["url"]),
            events=tuple(data.get("events") or ()),
            failures=int(data.get("failures") or 0),
            secret=data.get("secret"),
            inserted_at=_time(data.get("insertedAt")),
        )


@dataclass(frozen=True, kw_only=True)
class NotificationSettings:
    """The notification settings of an account. E-mail is only sent to a confirmed address."""

    email: str | None
    is_confirmed: bool
    sends_email: bool
    email_events: tuple[str, ...]
    webhooks: tuple[Webhook, ...]

    @classmethod
    def of(cls, data: dict[str, Any]) -> "NotificationSettings":
        """Create it from the GraphQL type NotificationSettings."""
        return cls(
            email=data.get("email"),
            is_confirmed=bool(data.get("emailConfirmed")),
            sends_email=bool(data.get("sendsEmail")),
            email_events=tuple(data.get("emailEvents") or ()),
            webhooks=tuple(Webhook.of(item) for item in data.get("webhooks") or ()),
        )


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A notification to one address; `status` is pending, delivered or failed."""

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
    def of(cls, data: dict[str, Any]) -> "Delivery":
        """Create it from the GraphQL type NotificationDelivery."""
        return cls(
            id=str(data["id"]),
            title=str(data.get("title") or ""),
            channel=str(data.get("channel") or ""),
            target=str(data.get("target") or ""),
            status=str(data.get("status") or ""),
            attempts=int(data.get("attempts") or 0),
            answer=data.get("answer"),
            inserted_at=_time(data.get("insertedAt")),
            next_attempt_at=_time(data.get("nextAttemptAt")),
        )


class Notifications:
    """The notifications of a client's account."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def settings(self) -> NotificationSettings:
        """Return the notification settings."""
        return NotificationSettings.of(self._client.graphql(SETTINGS)["notificationSettings"])

    def set_email(self, address: str | None) -> NotificationSettings:
        """Set the e-mail address, which receives a link for confirmation; None removes it."""
        return NotificationSettings.of(self._client.graphql(SET_EMAIL, {"email": address})["setNotificationEmail"])

    def set_email_events(self, events: list[Event]) -> NotificationSettings:
        """Set the events for which e-mails are sent."""
        names = [event.value for event in events]
        return NotificationSettings.of(self._client.graphql(SET_EMAIL_EVENTS, {"events": names})["setEmailEvents"])

    def create_webhook(self, url: str, events: list[Event]) -> Webhook:
        """Create a webhook and return it with its `secret`."""
        variables = {"url": url, "events": [event.value for event in events]}
        return Webhook.of(self._client.graphql(ADD_WEBHOOK, variables)["addWebhookEndpoint"])

    def webhook(self, name: str) -> Webhook:
        """Return the webhook with this id, start of an id, or URL. Raises NotFoundError unless exactly one matches."""
        matches = [item for item in self.settings().webhooks if item.url == name or item.id.startswith(name)]
        if len(matches) != 1:
            raise NotFoundError(
                f"{len(matches)} webhooks match {name[:80]!r}. List them with: predictd notifications show"
            )
        return matches[0]

    def delete_webhook(self, webhook: Webhook) -> None:
        """Delete a webhook."""
        self._client.graphql(DELETE_WEBHOOK, {"id": webhook.id})

    def test(self, webhook: Webhook | None = None) -> None:
        """Send a test notification to the webhook, or to the e-mail address."""
        self._client.graphql(TEST, {"id": webhook.id if webhook is not None else None})

    def deliveries(self, limit: int = 50) -> list[Delivery]:
        """Return recent deliveries, newest first."""
        data = self._client.graphql(DELIVERIES, {"limit": limit})
        return [Delivery.of(item) for item in data["notificationDeliveries"]]


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
