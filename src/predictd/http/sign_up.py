"""Sign-up, for pages and the API."""

from datetime import datetime

from predictd.db import Database
from predictd.db.accounts import create_account
from predictd.db.models import Account
from predictd.db.passwords import set_password
from predictd.http.rate_limit import RateLimiter
from predictd.notifications.email_addresses import send_confirmation
from predictd.settings import Settings


def sign_up(
    database: Database,
    rate_limiter: RateLimiter,
    settings: Settings,
    *,
    username: str,
    email: str | None,
    password: str,
    address: str,
    now: datetime,
) -> Account:
    """Create an account with a password, and send the link that confirms its email address.

    Raises:
        InvalidInputError: the name, the email address, or the password is invalid.
        ConflictError: the name is taken.
        TooManyAttemptsError: too many accounts were created from that address recently.
    """
    with rate_limiter.sign_up(address), database.write() as session:
        account = create_account(session, username, now, email)
        set_password(session, account, password, now)
        if account.email and settings.smtp_url:
            send_confirmation(session, account, now)
    return account
