"""The queue of deliveries: claims with a lease, results, retries with growing delays, and giving up.

A claim moves `not_before` to the end of the lease, so a message becomes due again if its server crashes. Only the
current claim, in `claimed_by`, may report a result.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd import prometheus
from predictd.db.hooks import after_commit
from predictd.db.notification_tables import Delivery, Notification, WebhookEndpoint
from predictd.domain.notification_types import Channel, DeliveryState

RETENTION_DAYS = 30
MAX_WAIT_SECONDS = 4 * 3600.0
_GROWTH = 3.0
_JITTER = 0.2


@dataclass(frozen=True, kw_only=True)
class DeliveryPolicy:
    """When messages are sent.

    Attributes:
        batch_seconds: how long an email waits for further messages to the same account.
        retry_seconds: wait before the first retry; it triples with each further failure.
        emails_per_hour: the most emails that one account gets in an hour; further messages are batched.
        give_up_seconds: a message older than this is not retried.
    """

    batch_seconds: float
    retry_seconds: float
    # Enough for every round of a day, and far below what mail providers accept from one sender.
    emails_per_hour: int = 10
    # Older news has been overtaken by the next round.
    give_up_seconds: float = 24 * 3600.0

    def wait(self, failures: int, chance: float) -> float:
        """Return the delay after consecutive failures, 1 or more; `chance` is a random number from 0 to 1."""
        plain = min(self.retry_seconds * _GROWTH ** min(failures - 1, 30), MAX_WAIT_SECONDS)
        return plain * (1 - _JITTER + 2 * _JITTER * chance)


def new_claim(owner: str) -> str:
    """Return a unique name for a claim of this server."""
    return f"{owner}/{secrets.token_hex(8)}"


def is_due(session: Session, channel: Channel, now: datetime) -> bool:
    """Return whether a message of the channel is due."""
    due = (Delivery.state == DeliveryState.PENDING, Delivery.channel == channel, Delivery.not_before <= now)
    return session.scalar(sa.select(Delivery.id).where(*due).limit(1)) is not None


def next_due(session: Session, channel: Channel, now: datetime, *, lock: bool = False) -> Delivery | None:
    """Return the message of the channel that has been due longest, optionally locked."""
    query = (
        sa.select(Delivery)
        .where(Delivery.state == DeliveryState.PENDING, Delivery.channel == channel, Delivery.not_before <= now)
        .order_by(Delivery.not_before, Delivery.inserted_at)
        .limit(1)
    )
    return session.scalar(query.with_for_update(skip_locked=True, of=Delivery) if lock else query)


def claim(session: Session, messages: Sequence[Delivery], claimed_by: str, now: datetime, lease_seconds: float) -> None:
    """Claim messages that this transaction has locked."""
    for message in messages:
        message.attempt += 1
        message.claimed_by = claimed_by
        message.not_before = now + timedelta(seconds=lease_seconds)
    session.flush()


def mark_delivered(session: Session, claimed_by: str, result: str, now: datetime) -> bool:
    """Mark the claimed messages as delivered; return False, without changes, if the claim is lost."""
    values = {"state": DeliveryState.DELIVERED, "result": result, "ended_at": now, "claimed_by": None}
    return _report(session, claimed_by, values)


def mark_failed(session: Session, claimed_by: str, result: str, now: datetime) -> bool:
    """Mark the claimed messages as failed."""
    values = {"state": DeliveryState.FAILED, "result": result, "ended_at": now, "claimed_by": None}
    return _report(session, claimed_by, values)


def retry_later(
    session: Session, claimed_by: str, result: str, now: datetime, *, wait_seconds: float, give_up_seconds: float
) -> None:
    """Retry the claimed messages later; those older than `give_up_seconds` fail."""
    again = now + timedelta(seconds=wait_seconds)
    too_old = Delivery.inserted_at < again - timedelta(seconds=give_up_seconds)
    hours = give_up_seconds / 3600
    message = f"Given up after {hours:g} hours. {result}"
    values = {"state": DeliveryState.FAILED, "result": message, "ended_at": now, "claimed_by": None}
    _report(session, claimed_by, values, too_old)
    _report(session, claimed_by, {"result": result, "not_before": again, "claimed_by": None})


def postpone(session: Session, condition: sa.ColumnElement[bool], until: datetime) -> None:
    """Postpone pending messages that meet the condition, because they would fail for the same reason."""
    session.execute(
        sa.update(Delivery)
        .where(
            condition,
            Delivery.state == DeliveryState.PENDING,
            Delivery.claimed_by.is_(None),
            Delivery.not_before < until,
        )
        .values(not_before=until)
        .execution_options(synchronize_session=False)
    )


def release_claims(session: Session, owner: str, now: datetime) -> int:
    """Release the claims of an earlier process of this server; return their number."""
    released = session.execute(
        sa.update(Delivery)
        .where(Delivery.claimed_by.startswith(f"{owner}/", autoescape=True), Delivery.state == DeliveryState.PENDING)
        .values(not_before=now, claimed_by=None)
        .returning(Delivery.id)
        .execution_options(synchronize_session=False)
    )
    return len(released.all())


def delete_old(session: Session, now: datetime) -> None:
    """Delete old deliveries, their notifications, and deleted webhooks."""
    before = now - timedelta(days=RETENTION_DAYS)
    session.execute(
        sa.delete(Delivery)
        .where(Delivery.state != DeliveryState.PENDING, Delivery.inserted_at < before)
        .execution_options(synchronize_session=False)
    )
    has_delivery = sa.select(Delivery.id).where(Delivery.notification_id == Notification.id).exists()
    session.execute(
        sa.delete(Notification)
        .where(Notification.fanned_out_at < before, ~has_delivery)
        .execution_options(synchronize_session=False)
    )
    is_referenced = sa.select(Delivery.id).where(Delivery.endpoint_id == WebhookEndpoint.id).exists()
    session.execute(
        sa.delete(WebhookEndpoint)
        .where(WebhookEndpoint.deleted_at < before, ~is_referenced)
        .execution_options(synchronize_session=False)
    )


def _report(
    session: Session, claimed_by: str, values: dict[str, object], condition: sa.ColumnElement[bool] | None = None
) -> bool:
    conditions = [Delivery.claimed_by == claimed_by, Delivery.state == DeliveryState.PENDING]
    if condition is not None:
        conditions.append(condition)
    updated = session.execute(
        sa.update(Delivery)
        .where(*conditions)
        .values(**values)
        .returning(Delivery.channel)
        .execution_options(synchronize_session=False)
    )
    channels = updated.scalars().all()
    outcome = str(values.get("state", "put off"))
    after_commit(session, lambda: _count(channels, outcome))
    return bool(channels)


def _count(channels: Sequence[str], outcome: str) -> None:
    for channel in channels:
        prometheus.MESSAGES.labels(channel, outcome).inc()
