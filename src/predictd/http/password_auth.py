"""Password verification; failures count toward the rate limit and are written to the audit log."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from predictd.db import Database
from predictd.db.audit import record_event
from predictd.db.models import Account
from predictd.db.passwords import SuspendedError, find_accounts, match_password
from predictd.domain.errors import InvalidInputError
from predictd.http.rate_limit import RateLimiter


def verify_password(
    database: Database,
    session: Session,
    rate_limiter: RateLimiter,
    name: str,
    password: str,
    *,
    address: str,
    error_message: str,
) -> Account:
    """Return the account of that name or email address if the password is correct, from the reading transaction.

    Raises:
        InvalidInputError: the password is incorrect; the message is `error_message`.
        SuspendedError: the account is suspended.
        TooManyAttemptsError: too many attempts failed recently.
    """
    accounts = find_accounts(session, name)
    # Attempts by name and by email address count for the same account.
    subject = accounts[0].username if len(accounts) == 1 else name
    rate_limiter.begin(subject, address)
    try:
        account = match_password(accounts, password)
    except SuspendedError:
        _record_failure(database, accounts, "suspended")
        raise
    if account is None:
        _record_failure(database, accounts, "wrong password")
        raise InvalidInputError(error_message)
    rate_limiter.succeed(subject, address)
    return account


def _record_failure(database: Database, accounts: Sequence[Account], reason: str) -> None:
    """Record a failed sign-in; unknown names are not stored, because people type passwords there."""
    with database.write() as writing:
        if len(accounts) == 1:
            record_event(writing, "sign_in.failed", "account", accounts[0].id, accounts[0].username, why=reason)
        else:
            record_event(writing, "sign_in.failed", "account", "", "", why=reason if accounts else "no such account")
