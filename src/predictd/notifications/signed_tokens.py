"""The links of mails: signed with a secret of the account, so that any server of the deployment can check them."""

import base64
import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from predictd.db.models import Account
from predictd.domain.errors import InvalidInputError
from predictd.domain.notices import CHOICES, Event

CONFIRM_HOURS = 72
STALE = "The link is not whole, or it is not good any more; ask for a new one on the page of your notifications."


def secret_of(account: Account) -> str:
    """The secret of the account's links, made when it is first needed: in a writing transaction."""
    if account.link_secret is None:
        account.link_secret = secrets.token_urlsafe(32)
    return account.link_secret


def confirmation_token(account: Account, now: datetime) -> str:
    """What confirms the account's address of now, for some days."""
    until = str(int((now + timedelta(hours=CONFIRM_HOURS)).timestamp()))
    return f"{account.id}.{until}.{_sign(account, 'confirm', until, account.email or '')}"


def unsubscribe_token(account: Account, events: list[Event]) -> str:
    """What ends e-mails about these events; it is good for ever, as the mail that has it may be old."""
    about = "-".join(events)
    return f"{account.id}.{about}.{_sign(account, 'unsubscribe', about)}"


def confirmed_account(session: Session, token: str, now: datetime) -> Account:
    """The account whose address the token confirms.

    Raises:
        InvalidInputError: it is forged or too old, or the account has another address by now.
    """
    account, until, signature = _parts(session, token)
    good = _sign(account, "confirm", until, account.email or "")
    if not hmac.compare_digest(signature.encode(), good.encode()) or int(until) < now.timestamp():
        raise InvalidInputError(STALE)
    return account


def unsubscribed(session: Session, token: str) -> tuple[Account, list[Event]]:
    """The account and the events of which it wants no e-mails any more; InvalidInputError if it is forged."""
    account, about, signature = _parts(session, token)
    if not hmac.compare_digest(signature.encode(), _sign(account, "unsubscribe", about).encode()):
        raise InvalidInputError(STALE)
    return account, [event for event in CHOICES if event in about.split("-")]


def _parts(session: Session, token: str) -> tuple[Account, str, str]:
    account_id, _, rest = token.partition(".")
    about, _, signature = rest.partition(".")
    is_id = account_id.isascii() and account_id.isprintable()
    account = session.get(Account, account_id) if is_id else None
    if account is None or account.link_secret is None:
        raise InvalidInputError(STALE)
    return account, about, signature


def _sign(account: Account, *parts: str) -> str:
    content = "\n".join((account.id, *parts)).encode()
    digest = hmac.digest(secret_of(account).encode(), content, hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
