"""Proving by a password who one is, with what failed counted and written to the audit log."""

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from predictd.api.attempts import Attempts
from predictd.db import Database
from predictd.db.audit import record
from predictd.db.passwords import SuspendedError, account_with_password
from predictd.db.tables import Account
from predictd.domain.errors import InvalidInputError


def prove(
    database: Database, session: Session, attempts: Attempts, name: str, password: str, *, address: str, refusal: str
) -> Account:
    """The account of that name or e-mail address whose password it is, as the reading transaction knows it.

    Raises:
        InvalidInputError: it is not; `refusal` says so.
        SuspendedError: it is, but the account is suspended.
        TooManyAttemptsError: too many were wrong of late.
    """
    attempts.begin(name, address)
    try:
        account = account_with_password(session, name, password)
    except SuspendedError:
        _record(database, session, name, "suspended")
        raise
    if account is None:
        _record(database, session, name, "wrong password")
        raise InvalidInputError(refusal)
    attempts.succeed(name, address)
    return account


def _record(database: Database, session: Session, name: str, why: str) -> None:
    """Of names that are of no account nothing is kept: people type passwords there."""
    key = name.strip().lower()
    found = session.scalar(select(Account).where(or_(Account.username_key == key, Account.email == name.strip())))
    with database.write() as writing:
        if found is not None:
            record(writing, "sign_in.failed", "account", found.id, found.username, why=why)
        else:
            record(writing, "sign_in.failed", "account", "", "", why="no such account")
