"""The email address of an account: set by its owner and confirmed by a link."""

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Account
from predictd.db.notification_tables import Delivery, Notification
from predictd.domain.errors import ConflictError, InvalidInputError
from predictd.domain.notification_types import Channel, DeliveryState, Event, check_address
from predictd.notifications.signed_tokens import link_signing_key_of, verify_confirmation_token

MAX_CONFIRMATIONS = 5
_CONFIRMATION_HOURS = 24


def set_address(session: Session, account: Account, address: str | None, now: datetime) -> bool:
    """Set or remove the address of the account. An unchanged address stays confirmed.

    Returns:
        Whether the address still has to be confirmed.

    Raises:
        InvalidInputError: the address is invalid.
    """
    new_address = check_address(address) if address and address.strip() else None
    if new_address != account.email:
        account.email = new_address
        account.email_confirmed_at = None
        account.updated_at = now
    session.flush()
    return new_address is not None and account.email_confirmed_at is None


def send_confirmation(session: Session, account: Account, now: datetime) -> None:
    """Send a confirmation link to the address of the account.

    Raises:
        ConflictError: the account has no address, or it is confirmed.
        InvalidInputError: too many links were sent recently.
    """
    if account.email is None or account.email_confirmed_at is not None:
        raise ConflictError("There is no address to confirm: it is not set or already confirmed.")
    since = now - timedelta(hours=_CONFIRMATION_HOURS)
    recent = (
        sa.select(sa.func.count())
        .select_from(Delivery)
        .join(Notification, Notification.id == Delivery.notification_id)
        .where(
            Notification.event == Event.CONFIRMATION,
            Notification.inserted_at > since,
            sa.or_(Delivery.target == account.email, Delivery.account_id == account.id),
        )
    )
    if (session.scalar(recent) or 0) >= MAX_CONFIRMATIONS:
        raise InvalidInputError(
            f"{MAX_CONFIRMATIONS} links were sent within {_CONFIRMATION_HOURS} hours, which is the limit; check your "
            "spam folder, or try again later."
        )
    link_signing_key_of(account)
    enqueue_message(session, account, Event.CONFIRMATION, Channel.EMAIL, account.email, now)


def confirm_address(session: Session, token: str, now: datetime) -> Account:
    """Confirm the address that the link was sent to.

    Raises:
        InvalidInputError: the link is invalid or has expired.
    """
    account = verify_confirmation_token(session, token, now)
    account.email_confirmed_at = account.email_confirmed_at or now
    account.updated_at = now
    session.flush()
    return account


def enqueue_message(
    session: Session,
    account: Account,
    event: Event,
    channel: Channel,
    target: str,
    now: datetime,
    endpoint_id: str | None = None,
) -> None:
    """Queue a message that the recipient requested."""
    notification = Notification(
        event=event, account_id=account.id, facts={"account": account.username}, inserted_at=now, fanned_out_at=now
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
