"""Accounts and their API tokens."""

import hashlib
import hmac
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from predictd.db.models import Account, Token
from predictd.domain.errors import ConflictError, InvalidInputError, NotFoundError
from predictd.domain.names import check_username
from predictd.domain.notification_types import check_address
from predictd.domain.scopes import SCOPES

TOKEN_NAME_LENGTH = 128
PUBLIC_ID_LENGTH = 32
SECRET_LENGTH = 64
_ALPHABET = string.ascii_uppercase + string.digits


@dataclass(frozen=True, kw_only=True)
class NewToken:
    """A new token with its secret, which is shown only once."""

    public_id: str
    secret_key: str
    name: str
    scopes: list[str]


def create_account(session: Session, username: str, now: datetime, email: str | None = None) -> Account:
    """Add an account.

    Raises:
        InvalidInputError: the name or the address breaks the rules.
        ConflictError: the name is taken, ignoring case.
    """
    check_username(username)
    if find_account(session, username) is not None:
        raise ConflictError(f"The account name {username!r} is already taken; choose another.")
    account = Account(
        username=username,
        username_key=username.lower(),
        email=check_address(email) if email else None,
        display_name=username,
        inserted_at=now,
        updated_at=now,
    )
    session.add(account)
    try:
        session.flush()
    except IntegrityError as error:
        raise ConflictError(f"The account name {username!r} is already taken; choose another.") from error
    return account


def find_account(session: Session, username: str) -> Account | None:
    """Return the account with this name, ignoring case."""
    return session.scalar(select(Account).where(Account.username_key == username.lower()))


def get_account(session: Session, username: str) -> Account:
    """Return the account with this name.

    Raises:
        NotFoundError: there is no such account.
    """
    account = find_account(session, username)
    if account is None:
        raise NotFoundError(
            f"There is no account named {username!r}; create it with: predictd account create {username}"
        )
    return account


def list_accounts(session: Session) -> Sequence[Account]:
    """Return all accounts, oldest first."""
    return session.scalars(select(Account).order_by(Account.inserted_at)).all()


def search_accounts(session: Session, text: str, *, limit: int, offset: int) -> Sequence[Account]:
    """Return a page of the accounts whose name or email address contains the text, by name."""
    query = select(Account).order_by(Account.username_key).limit(limit).offset(offset)
    if text:
        query = query.where(
            or_(
                Account.username_key.contains(text.lower(), autoescape=True),
                Account.email.icontains(text, autoescape=True),
            )
        )
    return session.scalars(query).all()


def set_admin(session: Session, account: Account, now: datetime, *, is_admin: bool) -> None:
    """Grant or revoke the admin role."""
    account.is_admin, account.updated_at = is_admin, now
    session.flush()


def create_token(
    session: Session, account: Account, now: datetime, name: str = "default", scopes: Sequence[str] | None = None
) -> NewToken:
    """Add an API token with the given scopes (all, if None). The secret is returned but not stored.

    Raises:
        InvalidInputError: an unknown scope, or a name that is empty or too long.
    """
    if not 0 < len(name) <= TOKEN_NAME_LENGTH:
        raise InvalidInputError(f"A token's name has 1 to {TOKEN_NAME_LENGTH} characters, not {len(name)}.")
    granted = list(SCOPES) if scopes is None else list(dict.fromkeys(scopes))
    unknown = [scope for scope in granted if scope not in SCOPES]
    if unknown or not granted:
        raise InvalidInputError(f"Unknown scopes {unknown}: choose one or more of {', '.join(SCOPES)}.")
    token = NewToken(
        public_id="".join(secrets.choice(_ALPHABET) for _ in range(PUBLIC_ID_LENGTH)),
        secret_key="".join(secrets.choice(_ALPHABET) for _ in range(SECRET_LENGTH)),
        name=name,
        scopes=granted,
    )
    session.add(
        Token(
            public_id=token.public_id,
            account_id=account.id,
            name=name,
            secret_hash=_hash(token.secret_key),
            scopes=granted,
            inserted_at=now,
        )
    )
    session.flush()
    return token


def list_tokens(session: Session, account: Account | None) -> Sequence[Token]:
    """Return the active tokens of the account, or of all accounts, oldest first."""
    query = select(Token).where(Token.revoked_at.is_(None)).order_by(Token.inserted_at)
    return session.scalars(query.where(Token.account_id == account.id) if account is not None else query).all()


def revoke_token(session: Session, public_id: str, now: datetime, account: Account | None = None) -> Token:
    """Revoke a token immediately; with `account`, only if it belongs to that account.

    Raises:
        NotFoundError: there is no such token, or it is already revoked.
    """
    token = session.get(Token, public_id)
    if token is None or token.revoked_at is not None or (account is not None and token.account_id != account.id):
        raise NotFoundError(f"There is no token {public_id[:64]!r}.")
    token.revoked_at = now
    session.flush()
    return token


def authenticate(session: Session, public_id: str, secret_key: str) -> Token | None:
    """Return the token with this id and secret, unless it is revoked or its account is suspended."""
    token = session.get(Token, public_id)
    expected_hash = token.secret_hash if token is not None else _hash("")
    matches = hmac.compare_digest(expected_hash, _hash(secret_key))
    is_valid = token is not None and matches and token.revoked_at is None and token.account.suspended_at is None
    return token if is_valid else None


def _hash(secret: str) -> str:
    # A plain hash is enough: the secret is 64 random characters, so it can't be guessed.
    return hashlib.sha256(secret.encode()).hexdigest()
