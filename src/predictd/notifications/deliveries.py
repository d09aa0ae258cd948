"""The queue of messages: claims with a lease, reports, growing waits, and the end of trying.

A claim puts `not_before` off by the lease, so a message whose server died comes due again by itself. Only the claim
that stands in `claimed_by` may report.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd import prometheus
from predictd.db.hooks import after_commit
from predictd.db.notice_tables import Delivery, Notification, WebhookEndpoint
from predictd.domain.notices import Channel, DeliveryState

KEPT_DAYS = 30
LONGEST_WAIT = 4 * 3600.0
_GROWTH = 3.0
_JITTER = 0.2


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast messages are sent, in seconds; `mails_per_hour` is of one account."""

    gather_seconds: float
    mails_per_hour: int
    retry_seconds: float
    give_up_seconds: float

    def wait(self, failures: int, chance: float) -> float:
        """The wait after so many failures in a row, 1 or more; `chance` is random, 0 to 1."""
        plain = min(self.retry_seconds * _GROWTH ** min(failures - 1, 30), LONGEST_WAIT)
        return plain * (1 - _JITTER + 2 * _JITTER * chance)


def new_claim(owner: str) -> str:
    """The name of one claim of that server."""
    return f"{owner}/{secrets.token_hex(8)}"


def is_due(session: Session, channel: Channel, now: datetime) -> bool:
    """Whether a message of the channel is to be sent now."""
    due = (Delivery.state == DeliveryState.PENDING, Delivery.channel == channel, Delivery.not_before <= now)
    return session.scalar(sa.select(Delivery.id).where(*due).limit(1)) is not None


def oldest(session: Session, channel: Channel, now: datetime, *, lock: bool = False) -> Delivery | None:
    """The message of the channel that has been due longest; locked, for this transaction alone."""
    found = (
        sa.select(Delivery)
        .where(Delivery.state == DeliveryState.PENDING, Delivery.channel == channel, Delivery.not_before <= now)
        .order_by(Delivery.not_before, Delivery.inserted_at)
        .limit(1)
    )
    return session.scalar(found.with_for_update(skip_locked=True, of=Delivery) if lock else found)


def claim(session: Session, messages: Sequence[Delivery], claimed_by: str, now: datetime, lease_seconds: float) -> None:
    """Take messages that this transaction has locked."""
    for message in messages:
        message.attempt += 1
        message.claimed_by = claimed_by
        message.not_before = now + timedelta(seconds=lease_seconds)
    session.flush()


def deliver(session: Session, claimed_by: str, answer: str, now: datetime) -> bool:
    """The claimed messages have arrived; False, and nothing changes, if the claim is lost."""
    values = {"state": DeliveryState.DELIVERED, "answer": answer, "ended_at": now, "claimed_by": None}
    return _report(session, claimed_by, values)


def give_up(session: Session, claimed_by: str, answer: str, now: datetime) -> bool:
    """The claimed messages will never arrive, for this reason."""
    values = {"state": DeliveryState.FAILED, "answer": answer, "ended_at": now, "claimed_by": None}
    return _report(session, claimed_by, values)


def try_again(
    session: Session, claimed_by: str, answer: str, now: datetime, *, wait_seconds: float, give_up_seconds: float
) -> None:
    """The claimed messages did not arrive now; those that are to be tried for longer than so long are given up."""
    again = now + timedelta(seconds=wait_seconds)
    too_old = Delivery.inserted_at < again - timedelta(seconds=give_up_seconds)
    hours = give_up_seconds / 3600
    told = f"Given up after {hours:g} hours. {answer}"
    values = {"state": DeliveryState.FAILED, "answer": told, "ended_at": now, "claimed_by": None}
    _report(session, claimed_by, values, too_old)
    _report(session, claimed_by, {"answer": answer, "not_before": again, "claimed_by": None})


def put_off(session: Session, condition: sa.ColumnElement[bool], until: datetime) -> None:
    """What is waiting and meets the condition is not tried before then, for it would meet the same end."""
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


def release(session: Session, owner: str, now: datetime) -> int:
    """What an earlier process of this server had claimed when it died is due at once. Returns how many."""
    found = session.execute(
        sa.update(Delivery)
        .where(Delivery.claimed_by.startswith(f"{owner}/", autoescape=True), Delivery.state == DeliveryState.PENDING)
        .values(not_before=now, claimed_by=None)
        .returning(Delivery.id)
        .execution_options(synchronize_session=False)
    )
    return len(found.all())


def forget_old(session: Session, now: datetime) -> None:
    """Messages that ended long ago go, and what they were about."""
    before = now - timedelta(days=KEPT_DAYS)
    session.execute(
        sa.delete(Delivery)
        .where(Delivery.state != DeliveryState.PENDING, Delivery.inserted_at < before)
        .execution_options(synchronize_session=False)
    )
    waited_for = sa.select(Delivery.id).where(Delivery.notification_id == Notification.id).exists()
    session.execute(
        sa.delete(Notification)
        .where(Notification.spread_at < before, ~waited_for)
        .execution_options(synchronize_session=False)
    )
    is_named = sa.select(Delivery.id).where(Delivery.endpoint_id == WebhookEndpoint.id).exists()
    session.execute(
        sa.delete(WebhookEndpoint)
        .where(WebhookEndpoint.deleted_at < before, ~is_named)
        .execution_options(synchronize_session=False)
    )


def _report(
    session: Session, claimed_by: str, values: dict[str, object], condition: sa.ColumnElement[bool] | None = None
) -> bool:
    wanted = [Delivery.claimed_by == claimed_by, Delivery.state == DeliveryState.PENDING]
    if condition is not None:
        wanted.append(condition)
    found = session.execute(
        sa.update(Delivery)
        .where(*wanted)
        .values(**values)
        .returning(Delivery.channel)
        .execution_options(synchronize_session=False)
    )
    channels = found.scalars().all()
    outcome = str(values.get("state", "put off"))
    after_commit(session, lambda: _count(channels, outcome))
    return bool(channels)


def _count(channels: Sequence[str], outcome: str) -> None:
    for channel in channels:
        prometheus.MESSAGES.labels(channel, outcome).inc()
