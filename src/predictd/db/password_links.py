"""Single-use links to set a password. Only a hash of the secret is stored."""

import hashlib
import secrets
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from predictd.db.models import Account, PasswordLink
from predictd.db.passwords import set_password
from predictd.domain.errors import NotFoundError

LINK_HOURS = 24
SECRET_BYTES = 32


def create_link(session: Session, account: Account, now: datetime) -> str:
    """Create a link that is valid for `LINK_HOURS` and return its secret; earlier links of the account are revoked."""
    session.execute(delete(PasswordLink).where(PasswordLink.account_id == account.id))
    secret = secrets.token_urlsafe(SECRET_BYTES)
    expires_at = now + timedelta(hours=LINK_HOURS)
    session.add(PasswordLink(secret_hash=_hash(secret), account=account, inserted_at=now, expires_at=expires_at))
    session.flush()
    return secret


def find_link(session: Session, secret: str, now: datetime) -> PasswordLink:
    """Return the link with this secret.

    Raises:
        NotFoundError: the link does not exist, was used or has expired.
    """
    link = session.get(PasswordLink, _hash(secret))
    if link is None or link.expires_at <= now:
        raise NotFoundError("This link was used or has expired; ask an admin for a new one.")
    return link


def use_link(session: Session, secret: str, password: str, now: datetime) -> Account:
    """Set the password of the account and delete the link.

    Raises:
        NotFoundError: there is no such link.
        InvalidInputError: the password is too short or too long.
    """
    link = find_link(session, secret, now)
    set_password(session, link.account, password, now)
    session.execute(delete(PasswordLink).where(PasswordLink.account_id == link.account_id))
    return link.account


def _hash(secret: str) -> str:
    # A plain hash is enough: the secret is random, so it can't be guessed.
    return hashlib.sha256(secret.encode()).hexdigest()
