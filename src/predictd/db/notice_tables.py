"""The tables of what accounts are told: what happened, to whom it goes, and how far each message is."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from predictd.db.models import Base
from predictd.db.types import new_id


class Notification(Base):
    """Something that happened, written in the transaction in which it did.

    `account_id` is null for what concerns everybody. `spread_at` is when its messages were made, `facts` what they say;
    both are null before.
    """

    __tablename__ = "notifications"
    __table_args__ = (Index("ix_notifications_spread_at_inserted_at", "spread_at", "inserted_at"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    event: Mapped[str] = mapped_column(String(24))
    account_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.id"))
    trigger_id: Mapped[str | None] = mapped_column(String(36))
    round_id: Mapped[str | None] = mapped_column(String(36))
    facts: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    inserted_at: Mapped[datetime]
    spread_at: Mapped[datetime | None]


class WebhookEndpoint(Base):
    """An address of an account's that is called; `failures` counts calls in a row that it did not take.

    The secret is kept as it is, because signing takes it.
    """

    __tablename__ = "webhook_endpoints"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    url: Mapped[str] = mapped_column(Text)
    secret: Mapped[str] = mapped_column(String(100), deferred=True)
    events: Mapped[list[str]]
    failures: Mapped[int] = mapped_column(default=0)
    inserted_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class Delivery(Base):
    """One message to one address, and the job of sending it.

    It is due at `not_before`. A claim raises `attempt`, puts `not_before` off by the lease and says whose it is in
    `claimed_by`; only the claim that stands there may report. E-mails that go as one have the same `mail_id`.
    `answer` is what came of the newest attempt.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("ix_deliveries_state_channel_not_before", "state", "channel", "not_before"),
        Index("ix_deliveries_account_id_inserted_at", "account_id", "inserted_at"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    notification_id: Mapped[str] = mapped_column(ForeignKey("notifications.id"), index=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    channel: Mapped[str] = mapped_column(String(8))
    endpoint_id: Mapped[str | None] = mapped_column(ForeignKey("webhook_endpoints.id"), index=True)
    mail_id: Mapped[str | None] = mapped_column(String(36), index=True)
    target: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(12))
    attempt: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[datetime]
    claimed_by: Mapped[str | None] = mapped_column(String(150), index=True)
    answer: Mapped[str | None] = mapped_column(Text)
    inserted_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    notification: Mapped[Notification] = relationship(lazy="joined", innerjoin=True)
