"""Signed tokens in email links, which any server of the deployment can verify."""

import base64
import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from predictd.db.models import Account
from predictd.domain.errors import InvalidInputError
from predictd.domain.notification_types import CHOICES, Event

CONFIRM_HOURS = 72
INVALID_LINK = "The link is incomplete or has expired; request a new one on your notifications page."


def link_signing_key_of(account: Account) -> str:
    """Return the signing key of the account, created on first use; needs a write transaction."""
    if account.link_signing_key is None:
        account.link_signing_key = secrets.token_urlsafe(32)
    return account.link_signing_key


def confirmation_token(account: Account, now: datetime) -> str:
    """Return a token that confirms the current address, valid for `CONFIRM_HOURS`."""
    until = str(int((now + timedelta(hours=CONFIRM_HOURS)).timestamp()))
    return f"{account.id}.{until}.{_sign(account, 'confirm', until, account.email or '')}"


def unsubscribe_token(account: Account, events: list[Event]) -> str:
    """Return a token that unsubscribes from these events; it never expires, because emails can be old."""
    event_list = "-".join(events)
    return f"{account.id}.{event_list}.{_sign(account, 'unsubscribe', event_list)}"


def verify_confirmation_token(session: Session, token: str, now: datetime) -> Account:
    """Return the account whose address the token confirms.

    Raises:
        InvalidInputError: the token is forged or has expired, or the address has changed.
    """
    account, until, signature = _parts(session, token)
    expected = _sign(account, "confirm", until, account.email or "")
    if not hmac.compare_digest(signature.encode(), expected.encode()) or int(until) < now.timestamp():
        raise InvalidInputError(INVALID_LINK)
    return account


def verify_unsubscribe_token(session: Session, token: str) -> tuple[Account, list[Event]]:
    """Return the account and the events to unsubscribe from.

    Raises:
        InvalidInputError: the token is forged.
    """
    account, event_list, signature = _parts(session, token)
    if not hmac.compare_digest(signature.encode(), _sign(account, "unsubscribe", event_list).encode()):
        raise InvalidInputError(INVALID_LINK)
    return account, [event for event in CHOICES if event in event_list.split("-")]


def _parts(session: Session, token: str) -> tuple[Account, str, str]:
    account_id, _, rest = token.partition(".")
    payload, _, signature = rest.partition(".")
    is_id = account_id.isascii() and account_id.isprintable()
    account = session.get(Account, account_id) if is_id else None
    if account is None or account.link_signing_key is None:
        raise InvalidInputError(INVALID_LINK)
    return account, payload, signature


def _sign(account: Account, *parts: str) -> str:
    content = "\n".join((account.id, *parts)).encode()
    digest = hmac.digest(link_signing_key_of(account).encode(), content, hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
