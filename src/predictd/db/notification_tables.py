"""The tables of notifications, webhook endpoints and deliveries."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from predictd.db.models import Base
from predictd.db.types import new_id


class Notification(Base):
    """An event, written in the transaction that caused it.

    `account_id` is null for events that concern all accounts. `fanned_out_at` is when its deliveries were created and
    `facts` is their content; both are null until then.
    """

    __tablename__ = "notifications"
    __table_args__ = (Index("ix_notifications_fanned_out_at_inserted_at", "fanned_out_at", "inserted_at"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    event: Mapped[str] = mapped_column(String(24))
    account_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.id"))
    run_id: Mapped[str | None] = mapped_column(String(36))
    round_id: Mapped[str | None] = mapped_column(String(36))
    facts: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    inserted_at: Mapped[datetime]
    fanned_out_at: Mapped[datetime | None]


class WebhookEndpoint(Base):
    """A webhook of an account; `failures` counts consecutive failed calls.

    The secret is stored in plain text because it signs each call.
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

    It is due at `not_before`. A claim increments `attempt`, moves `not_before` to the end of the lease and sets
    `claimed_by`; only the current claim may report. Deliveries sent as one email have the same `mail_id`. `result`
    describes the newest attempt.
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
    result: Mapped[str | None] = mapped_column(Text)
    inserted_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    notification: Mapped[Notification] = relationship(lazy="joined", innerjoin=True)
