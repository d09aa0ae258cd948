"""Passwords of accounts: kept as scrypt hashes, compared at the same cost whether or not there is an account."""

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

SHORTEST = 10
LONGEST = 200
MOST_NAMED = 5
_COST, _BLOCK, _PARALLEL = 2**15, 8, 1
_SALT_BYTES = 16
# One hash takes 32 MiB: without a bound, a flood of attempts would take the server's memory.
_AT_ONCE = threading.BoundedSemaphore(4)


class SuspendedError(PredictdError):
    """The account is suspended; ask the organiser of this server why."""

    code = "suspended"


def check_password(password: str) -> None:
    """Raise InvalidInputError unless it has 10 to 200 characters."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidInputError(
            f"The password has {len(password)} characters; choose one of {SHORTEST} to {LONGEST}, such as some words."
        )


def hash_password(password: str) -> str:
    """What is kept of a password: `scrypt$N$r$p$SALT$HASH`, the last two in base64."""
    salt = secrets.token_bytes(_SALT_BYTES)
    parts = (_encoded(salt), _encoded(_scrypt(password, salt, _COST, _BLOCK, _PARALLEL)))
    return "$".join(("scrypt", str(_COST), str(_BLOCK), str(_PARALLEL), *parts))


def matches(password: str, kept: str) -> bool:
    """Whether that password was kept so."""
    _, cost, block, parallel, salt, digest = kept.split("$")
    found = _scrypt(password, base64.b64decode(salt), int(cost), int(block), int(parallel))
    return hmac.compare_digest(found, base64.b64decode(digest))


# What no password matches, for accounts that there are not or that have none.
_NOBODY = "$".join(("scrypt", str(_COST), str(_BLOCK), str(_PARALLEL), "AAAAAAAAAAAAAAAAAAAAAA==", "AAAA"))


def set_password(session: Session, account: Account, password: str, now: datetime) -> None:
    """Give the account that password, and end all of its sessions.

    Raises:
        InvalidInputError: it is too short or too long.
    """
    check_password(password)
    account.password_hash = hash_password(password)
    account.updated_at = now
    session.execute(delete(WebSession).where(WebSession.account_id == account.id))
    session.flush()


def accounts_named(session: Session, name: str) -> Sequence[Account]:
    """Return the account of that name, or those of that e-mail address: the ones that have confirmed it, else all.

    Nothing says that an address is of one account only, and anybody can enter any address, so that of those who have
    not confirmed it the oldest `MOST_NAMED` are returned.
    """
    account = session.scalar(select(Account).where(Account.username_key == name.strip().lower()))
    if account is not None:
        return [account]
    by_address = select(Account).where(Account.email == name.strip()).order_by(Account.inserted_at, Account.id)
    confirmed = session.scalars(by_address.where(Account.email_confirmed_at.is_not(None)).limit(MOST_NAMED)).all()
    return confirmed or session.scalars(by_address.limit(MOST_NAMED)).all()


def account_with_password(named: Sequence[Account], password: str) -> Account | None:
    """Return the one of these accounts whose password it is.

    It takes a tenth of a second for each, also where there is none or where one has no password.

    Raises:
        SuspendedError: it is, but the account is suspended.
    """
    if not named:
        _is_right(password, None)
    for account in named:
        if _is_right(password, account.password_hash):
            if account.suspended_at is not None:
                raise SuspendedError
            return account
    return None


def _is_right(password: str, kept: str | None) -> bool:
    return len(password) <= LONGEST and matches(password, kept or _NOBODY) and kept is not None


def _scrypt(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    with _AT_ONCE:
        return hashlib.scrypt(
            password.encode(), salt=salt, n=cost, r=block, p=parallel, maxmem=2 * 128 * cost * block, dklen=32
        )


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
