"""Links by which the owner of an account chooses a password. The secret is the link's alone; a hash of it is kept."""

import hashlib
import secrets
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from predictd.db.models import Account, PasswordLink
from predictd.db.passwords import set_password
from predictd.domain.errors import NotFoundError

HOURS = 24
SECRET_BYTES = 32


def make_link(session: Session, account: Account, now: datetime) -> str:
    """A secret that is good for one password within `HOURS`; those of the account before it end."""
    session.execute(delete(PasswordLink).where(PasswordLink.account_id == account.id))
    secret = secrets.token_urlsafe(SECRET_BYTES)
    expires_at = now + timedelta(hours=HOURS)
    session.add(PasswordLink(secret_hash=_hash(secret), account=account, inserted_at=now, expires_at=expires_at))
    session.flush()
    return secret


def find_link(session: Session, secret: str, now: datetime) -> PasswordLink:
    """The link of that secret.

    Raises:
        NotFoundError: there is none, it was used, or it is too old.
    """
    link = session.get(PasswordLink, _hash(secret))
    if link is None or link.expires_at <= now:
        raise NotFoundError("This link was used or is too old; ask the organiser for another.")
    return link


def use_link(session: Session, secret: str, password: str, now: datetime) -> Account:
    """Give the link's account that password and end the link.

    Raises:
        NotFoundError: there is no such link.
        InvalidInputError: the password is too short or too long.
    """
    link = find_link(session, secret, now)
    set_password(session, link.account, password, now)
    session.execute(delete(PasswordLink).where(PasswordLink.account_id == link.account_id))
    return link.account


def _hash(secret: str) -> str:
    # A plain hash is enough: the secret is random, so there is nothing to guess.
    return hashlib.sha256(secret.encode()).hexdigest()
