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
from predictd.domain.notices import check_address
from predictd.domain.scopes import SCOPES

TOKEN_NAME_LENGTH = 128
PUBLIC_ID_LENGTH = 32
SECRET_LENGTH = 64
_ALPHABET = string.ascii_uppercase + string.digits


@dataclass(frozen=True, kw_only=True)
class NewToken:
    """A token as it is shown once, when it is made."""

    public_id: str
    secret_key: str
    name: str
    scopes: list[str]


def create_account(session: Session, username: str, now: datetime, email: str | None = None) -> Account:
    """Add an account.

    Raises:
        InvalidInputError: the name or the address breaks the rules.
        ConflictError: the name is taken, in whatever case.
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
    """The account of that name, in whatever case."""
    return session.scalar(select(Account).where(Account.username_key == username.lower()))


def get_account(session: Session, username: str) -> Account:
    """The account of that name; NotFoundError when there is none."""
    account = find_account(session, username)
    if account is None:
        raise NotFoundError(f"There is no account named {username!r}; make it with: predictd account create {username}")
    return account


def list_accounts(session: Session) -> Sequence[Account]:
    """All accounts, oldest first."""
    return session.scalars(select(Account).order_by(Account.inserted_at)).all()


def page_of_accounts(session: Session, wanted: str, *, limit: int, offset: int) -> Sequence[Account]:
    """Those with that in their name or e-mail address, by name."""
    found = select(Account).order_by(Account.username_key).limit(limit).offset(offset)
    if wanted:
        found = found.where(
            or_(
                Account.username_key.contains(wanted.lower(), autoescape=True),
                Account.email.icontains(wanted, autoescape=True),
            )
        )
    return session.scalars(found).all()


def set_organiser(session: Session, account: Account, now: datetime, *, is_organiser: bool) -> None:
    """Let the account into the organiser's pages, or no more."""
    account.is_organiser, account.updated_at = is_organiser, now
    session.flush()


def create_token(
    session: Session, account: Account, now: datetime, name: str = "default", scopes: Sequence[str] | None = None
) -> NewToken:
    """Add an API token with the given scopes (all, if None). The secret is answered here and kept nowhere.

    Raises:
        InvalidInputError: an unknown scope, or a name that is empty or too long.
    """
    if not 0 < len(name) <= TOKEN_NAME_LENGTH:
        raise InvalidInputError(f"A token's name has 1 to {TOKEN_NAME_LENGTH} characters, not {len(name)}.")
    chosen = list(SCOPES) if scopes is None else list(dict.fromkeys(scopes))
    unknown = [scope for scope in chosen if scope not in SCOPES]
    if unknown or not chosen:
        raise InvalidInputError(f"Unknown scopes {unknown}: choose one or more of {', '.join(SCOPES)}.")
    token = NewToken(
        public_id="".join(secrets.choice(_ALPHABET) for _ in range(PUBLIC_ID_LENGTH)),
        secret_key="".join(secrets.choice(_ALPHABET) for _ in range(SECRET_LENGTH)),
        name=name,
        scopes=chosen,
    )
    session.add(
        Token(
            public_id=token.public_id,
            account_id=account.id,
            name=name,
            secret_hash=_hash(token.secret_key),
            scopes=chosen,
            inserted_at=now,
        )
    )
    session.flush()
    return token


def list_tokens(session: Session, account: Account | None) -> Sequence[Token]:
    """The tokens of the account, or of all accounts, that are not revoked; oldest first."""
    found = select(Token).where(Token.revoked_at.is_(None)).order_by(Token.inserted_at)
    return session.scalars(found.where(Token.account_id == account.id) if account is not None else found).all()


def revoke_token(session: Session, public_id: str, now: datetime, account: Account | None = None) -> Token:
    """End a token at once; with `account`, only one of that account's.

    Raises:
        NotFoundError: no such token, or it is revoked already.
    """
    token = session.get(Token, public_id)
    if token is None or token.revoked_at is not None or (account is not None and token.account_id != account.id):
        raise NotFoundError(f"There is no token {public_id[:64]!r}.")
    token.revoked_at = now
    session.flush()
    return token


def authenticate(session: Session, public_id: str, secret_key: str) -> Token | None:
    """The token with that id and secret, unless it is revoked or its account is suspended."""
    token = session.get(Token, public_id)
    known = token.secret_hash if token is not None else _hash("")
    matches = hmac.compare_digest(known, _hash(secret_key))
    is_good = token is not None and matches and token.revoked_at is None and token.account.suspended_at is None
    return token if is_good else None


def _hash(secret: str) -> str:
    # A plain hash is enough: the secret is 64 random characters, so there is nothing to guess.
    return hashlib.sha256(secret.encode()).hexdigest()
