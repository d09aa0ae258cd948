"""The e-mail address of an account: set by its owner, confirmed by a link that is sent to it."""

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Account
from predictd.db.notice_tables import Delivery, Notification
from predictd.domain.errors import ConflictError, InvalidInputError
from predictd.domain.notices import Channel, DeliveryState, Event, check_address
from predictd.notifications.signed_tokens import confirmed_account, secret_of

MOST_ASKED = 5
_ASKED_HOURS = 24


def set_address(session: Session, account: Account, address: str | None, now: datetime) -> bool:
    """Give the account that address, or none. One that it has already stays confirmed.

    Returns:
        Whether it is to be confirmed yet.

    Raises:
        InvalidInputError: it can't be an address.
    """
    wanted = check_address(address) if address and address.strip() else None
    if wanted != account.email:
        account.email = wanted
        account.email_confirmed_at = None
        account.updated_at = now
    session.flush()
    return wanted is not None and account.email_confirmed_at is None


def ask_to_confirm(session: Session, account: Account, now: datetime) -> None:
    """Send the link that confirms the account's address to it.

    Raises:
        ConflictError: the account has no address, or it is confirmed.
        InvalidInputError: that address was asked too often of late.
    """
    if account.email is None or account.email_confirmed_at is not None:
        raise ConflictError("There is no address to confirm: set one first, unless yours is confirmed already.")
    since = now - timedelta(hours=_ASKED_HOURS)
    asked = (
        sa.select(sa.func.count())
        .select_from(Delivery)
        .join(Notification, Notification.id == Delivery.notification_id)
        .where(
            Notification.event == Event.CONFIRMATION,
            Notification.inserted_at > since,
            sa.or_(Delivery.target == account.email, Delivery.account_id == account.id),
        )
    )
    if (session.scalar(asked) or 0) >= MOST_ASKED:
        raise InvalidInputError(
            f"{MOST_ASKED} links were sent within {_ASKED_HOURS} hours, no more are; look among the spam, or wait."
        )
    secret_of(account)
    send_now(session, account, Event.CONFIRMATION, Channel.EMAIL, account.email, now)


def confirm(session: Session, token: str, now: datetime) -> Account:
    """The address that the link was sent to is its reader's; InvalidInputError if the link is not good."""
    account = confirmed_account(session, token, now)
    account.email_confirmed_at = account.email_confirmed_at or now
    account.updated_at = now
    session.flush()
    return account


def send_now(
    session: Session,
    account: Account,
    event: Event,
    channel: Channel,
    target: str,
    now: datetime,
    endpoint_id: str | None = None,
) -> None:
    """Queue a message that its own reader asked for."""
    notification = Notification(
        event=event, account_id=account.id, facts={"account": account.username}, inserted_at=now, spread_at=now
    )
    session.add(notification)
    session.flush()
    session.add(
        Delivery(
            notification_id=notification.id,
            account_id=account.id,
            channel=channel,
            endpoint_id=endpoint_id,
            target=target,
            state=DeliveryState.PENDING,
            not_before=now,
            inserted_at=now,
        )
    )
    session.flush()
