"""Sessions of people who signed in with a password. The secret is the client's alone; a hash of it is kept."""

import hashlib
import secrets
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from predictd.db.models import Account, WebSession

SECRET_BYTES = 32


def begin_session(session: Session, account: Account, now: datetime, *, hours: float) -> str:
    """Begin a session of so many hours; answers its secret, which is kept nowhere. Those that are over go."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    session.execute(delete(WebSession).where(WebSession.expires_at <= now))
    session.add(
        WebSession(
            secret_hash=_hash(secret), account_id=account.id, inserted_at=now, expires_at=now + timedelta(hours=hours)
        )
    )
    session.flush()
    return secret


def find_session(session: Session, secret: str, now: datetime) -> WebSession | None:
    """The session of that secret, unless it has ended or its account is suspended."""
    found = session.get(WebSession, _hash(secret))
    if found is None or found.expires_at <= now or found.account.suspended_at is not None:
        return None
    return found


def end_session(session: Session, secret: str) -> None:
    """End the session of that secret; harmless where there is none."""
    session.execute(delete(WebSession).where(WebSession.secret_hash == _hash(secret)))


def _hash(secret: str) -> str:
    # A plain hash is enough: the secret is random, so there is nothing to guess.
    return hashlib.sha256(secret.encode()).hexdigest()
