"""Proving by a password who one is, with what failed counted and written to the audit log."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from predictd.db import Database
from predictd.db.audit import record
from predictd.db.models import Account
from predictd.db.passwords import SuspendedError, account_with_password, accounts_named
from predictd.domain.errors import InvalidInputError
from predictd.http.rate_limit import Attempts


def prove(
    database: Database, session: Session, attempts: Attempts, name: str, password: str, *, address: str, refusal: str
) -> Account:
    """The account of that name or e-mail address whose password it is, as the reading transaction knows it.

    Raises:
        InvalidInputError: it is not; `refusal` says so.
        SuspendedError: it is, but the account is suspended.
        TooManyAttemptsError: too many were wrong of late.
    """
    named = accounts_named(session, name)
    # An account has one count, whether it is meant by its name or by its e-mail address.
    subject = named[0].username if len(named) == 1 else name
    attempts.begin(subject, address)
    try:
        account = account_with_password(named, password)
    except SuspendedError:
        _record(database, named, "suspended")
        raise
    if account is None:
        _record(database, named, "wrong password")
        raise InvalidInputError(refusal)
    attempts.succeed(subject, address)
    return account


def _record(database: Database, named: Sequence[Account], why: str) -> None:
    """Of names that are of no account nothing is kept: people type passwords there."""
    with database.write() as writing:
        if len(named) == 1:
            record(writing, "sign_in.failed", "account", named[0].id, named[0].username, why=why)
        else:
            record(writing, "sign_in.failed", "account", "", "", why=why if named else "no such account")
