"""Passwords of accounts: stored as scrypt hashes, compared in the same time whether or not the account exists."""

import base64
import hashlib
import hmac
import secrets
import threading
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from predictd.db.models import Account, WebSession
from predictd.domain.errors import InvalidInputError, PredictdError

MIN_LENGTH = 10
MAX_LENGTH = 200
MAX_SHARED_ADDRESS = 5
_COST, _BLOCK, _PARALLEL = 2**15, 8, 1
_SALT_BYTES = 16
# One hash takes 32 MiB, so a flood of attempts could exhaust the memory of the server.
_HASH_SLOTS = threading.BoundedSemaphore(4)


class SuspendedError(PredictdError):
    """The account is suspended; ask an admin of this server why."""

    code = "suspended"


def check_password(password: str) -> None:
    """Raise InvalidInputError unless it has 10 to 200 characters."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise InvalidInputError(
            f"The password has {len(password)} characters; choose one of {MIN_LENGTH} to {MAX_LENGTH} characters."
        )


def hash_password(password: str) -> str:
    """Return the hash to store: `scrypt$N$r$p$SALT$HASH`, the last two in base64."""
    salt = secrets.token_bytes(_SALT_BYTES)
    parts = (_encoded(salt), _encoded(_scrypt(password, salt, _COST, _BLOCK, _PARALLEL)))
    return "$".join(("scrypt", str(_COST), str(_BLOCK), str(_PARALLEL), *parts))


def matches(password: str, stored_hash: str) -> bool:
    """Return whether the password matches the stored hash."""
    _, cost, block, parallel, salt, digest = stored_hash.split("$")
    computed = _scrypt(password, base64.b64decode(salt), int(cost), int(block), int(parallel))
    return hmac.compare_digest(computed, base64.b64decode(digest))


# Matches no password; used for unknown accounts and those without a password.
_UNMATCHABLE_HASH = "$".join(("scrypt", str(_COST), str(_BLOCK), str(_PARALLEL), "AAAAAAAAAAAAAAAAAAAAAA==", "AAAA"))


def set_password(session: Session, account: Account, password: str, now: datetime) -> None:
    """Set the password of the account and end all of its sessions.

    Raises:
        InvalidInputError: it is too short or too long.
    """
    check_password(password)
    account.password_hash = hash_password(password)
    account.updated_at = now
    session.execute(delete(WebSession).where(WebSession.account_id == account.id))
    session.flush()


def find_accounts(session: Session, name: str) -> Sequence[Account]:
    """Return the account with this name, or the accounts with this email address, confirmed ones if there are any.

    Several accounts can have the same address, and anyone can enter any address, so at most the oldest
    `MAX_SHARED_ADDRESS` are returned.
    """
    account = session.scalar(select(Account).where(Account.username_key == name.strip().lower()))
    if account is not None:
        return [account]
    by_address = select(Account).where(Account.email == name.strip()).order_by(Account.inserted_at, Account.id)
    confirmed = session.scalars(
        by_address.where(Account.email_confirmed_at.is_not(None)).limit(MAX_SHARED_ADDRESS)
    ).all()
    return confirmed or session.scalars(by_address.limit(MAX_SHARED_ADDRESS)).all()


def match_password(accounts: Sequence[Account], password: str) -> Account | None:
    """Return the account with this password.

    Takes a tenth of a second for each account, and as long if there is none or it has no password.

    Raises:
        SuspendedError: the password matches, but the account is suspended.
    """
    if not accounts:
        _is_correct(password, None)
    for account in accounts:
        if _is_correct(password, account.password_hash):
            if account.suspended_at is not None:
                raise SuspendedError
            return account
    return None


def _is_correct(password: str, stored_hash: str | None) -> bool:
    return (
        len(password) <= MAX_LENGTH and matches(password, stored_hash or _UNMATCHABLE_HASH) and stored_hash is not None
    )


def _scrypt(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    with _HASH_SLOTS:
        return hashlib.scrypt(
            password.encode(), salt=salt, n=cost, r=block, p=parallel, maxmem=2 * 128 * cost * block, dklen=32
        )


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
