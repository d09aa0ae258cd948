"""Sessions of accounts that signed in with a password. Only a hash of the secret is stored."""

import hashlib
import secrets
from datetime import datetime, timedelta

from sqlalchemy import Index, Integer, String, delete
from sqlalchemy.orm import Mapped, Session, mapped_column

from predictd.db.models import Account, Base, WebSession

SECRET_BYTES = 32
# Two weeks, the usual length of a session: whoever leaves a shared computer signs out.
SESSION_HOURS = 14 * 24


class SignInAttempt(Base):
    """A failed sign-in, counted by `subject`: an account name or an IP address."""

    __tablename__ = "sign_in_attempts"
    __table_args__ = (Index("ix_sign_in_attempts_subject_at", "subject", "at"),)

    sequence: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    subject: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(index=True)


def create_session(session: Session, account: Account, now: datetime) -> str:
    """Create a session, delete expired ones, and return the secret, which is not stored."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    session.execute(delete(WebSession).where(WebSession.expires_at <= now))
    session.add(
        WebSession(
            secret_hash=_hash(secret),
            account_id=account.id,
            inserted_at=now,
            expires_at=now + timedelta(hours=SESSION_HOURS),
        )
    )
    session.flush()
    return secret


def find_session(session: Session, secret: str, now: datetime) -> WebSession | None:
    """Return the session with this secret, unless it has expired or its account is suspended."""
    web_session = session.get(WebSession, _hash(secret))
    if web_session is None or web_session.expires_at <= now or web_session.account.suspended_at is not None:
        return None
    return web_session


def end_session(session: Session, secret: str) -> None:
    """Delete the session with this secret, if it exists."""
    session.execute(delete(WebSession).where(WebSession.secret_hash == _hash(secret)))


def _hash(secret: str) -> str:
    # A plain hash is enough: the secret is random, so it can't be guessed.
    return hashlib.sha256(secret.encode()).hexdigest()
