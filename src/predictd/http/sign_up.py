"""Creating an account by its own owner, for the page and the API alike."""

from datetime import datetime

from predictd.db import Database
from predictd.db.accounts import create_account
from predictd.db.models import Account
from predictd.db.passwords import set_password
from predictd.http.rate_limit import Attempts
from predictd.notifications.addresses import ask_to_confirm
from predictd.settings import Settings


def sign_up(
    database: Database,
    attempts: Attempts,
    settings: Settings,
    *,
    username: str,
    email: str | None,
    password: str,
    address: str,
    now: datetime,
) -> Account:
    """Create an account with a password and, where there is a mail server, ask its owner to confirm the e-mail address.

    Raises:
        InvalidInputError: the name, the e-mail address or the password breaks the rules.
        ConflictError: the name is taken.
        TooManyAttemptsError: too many accounts were created from that address recently.
    """
    with attempts.sign_up(address), database.write() as session:
        account = create_account(session, username, now, email)
        set_password(session, account, password, now)
        if account.email and settings.smtp_url:
            ask_to_confirm(session, account, now)
    return account
