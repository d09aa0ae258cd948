"""Passwords of accounts: kept as scrypt hashes, compared at the same cost whether or not there is an account."""

import base64
import hashlib
import hmac
import secrets
import threading
from datetime import datetime

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from predictd.db.tables import Account, WebSession
from predictd.domain.errors import InvalidInputError, PredictdError

SHORTEST = 10
LONGEST = 200
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


def account_with_password(session: Session, name: str, password: str) -> Account | None:
    """The account of that name or e-mail address, if that is its password.

    It takes a tenth of a second, also where there is no such account or where it has no password.

    Raises:
        SuspendedError: it is, but the account is suspended.
    """
    key = name.strip().lower()
    named = select(Account).where(or_(Account.username_key == key, Account.email == name.strip()))
    # Nothing says that an address is of one account only; a name is. Whoever has confirmed it comes first.
    found = session.scalars(named).all()
    by_address = [one for one in found if one.email_confirmed_at is not None] or found
    account = next((one for one in found if one.username_key == key), by_address[0] if len(by_address) == 1 else None)
    kept = account.password_hash if account is not None else None
    is_right = len(password) <= LONGEST and matches(password, kept or _NOBODY)
    if account is None or kept is None or not is_right:
        return None
    if account.suspended_at is not None:
        raise SuspendedError
    return account


def _scrypt(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    with _AT_ONCE:
        return hashlib.scrypt(
            password.encode(), salt=salt, n=cost, r=block, p=parallel, maxmem=2 * 128 * cost * block, dklen=32
        )


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
