"""How often somebody may try a password or create an account: counted in the database, for all servers.

Failures count for the pair of an account and an address, and for the address. Whoever has too many is slowed down to
one attempt per `INTERVAL`, so that nobody can close another person's account: its owner comes from another address.
Too many failures of one account, wherever they come from, make each further attempt take longer.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from predictd.db import Database
from predictd.db.merged import SignInAttempt
from predictd.domain.addresses import client_key
from predictd.domain.errors import PredictdError

WINDOW = timedelta(minutes=15)
INTERVAL = timedelta(minutes=1)
MOST_OF_PAIR = 10
MOST_OF_ADDRESS = 50
MOST_OF_ACCOUNT = 30
MOST_SIGN_UPS = 10
_STEP_SECONDS = 0.1
_LONGEST_SECONDS = 2.0
# Attempts that are slowed down hold a thread each, so that only some of them wait at a time.
_MOST_WAITING = 8


class TooManyAttemptsError(PredictdError):
    """There were too many attempts."""

    code = "too_many_attempts"


class Attempts:
    """Failures of the last quarter of an hour. Of names and addresses, only hashes are kept."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._clock = clock
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)

    def begin(self, name: str, address: str) -> None:
        """Count an attempt as failed until `succeed` says otherwise, so that many at once are not let through.

        It returns later where many attempts on the account have failed, from whatever addresses.

        Raises:
            TooManyAttemptsError: too many have failed for this account from this address, or from this address, and
                the last was less than `INTERVAL` ago; or too many others are slowed down at the moment.
        """
        pair, origin, account = _subjects(name, address)
        self._count({pair: MOST_OF_PAIR, origin: MOST_OF_ADDRESS, account: 0}, INTERVAL, "attempts to sign in")
        self._slow_down(account)

    def succeed(self, name: str, address: str) -> None:
        """Take back the attempt, and what failed for the account from that address before."""
        pair, origin, account = _subjects(name, address)
        with self._database.write() as session:
            session.execute(sa.delete(SignInAttempt).where(SignInAttempt.subject == pair))
            for subject in (origin, account):
                _take_back(session, subject)

    @contextmanager
    def sign_up(self, address: str) -> Iterator[None]:
        """Count the account that is created meanwhile for the address, unless it is refused.

        Raises:
            TooManyAttemptsError: as many as may be were created from the address within `WINDOW`.
        """
        subject = _hashed(f"sign-up:{client_key(address)}")
        self._count({subject: MOST_SIGN_UPS}, WINDOW, "accounts created from your address")
        try:
            yield
        except PredictdError:
            with self._database.write() as session:
                _take_back(session, subject)
            raise

    def _count(self, limits: dict[str, int], interval: timedelta, what: str) -> None:
        """Count one for each subject; refuse it, and count nothing, where one is over its limit, 0 for none.

        Over its limit a subject has another attempt once its last is older than the interval.
        """
        now = self._clock()
        own = [SignInAttempt(subject=subject, at=now) for subject in limits]
        with self._database.write() as session:
            session.execute(sa.delete(SignInAttempt).where(SignInAttempt.at <= now - WINDOW))
            session.add_all(own)
        # Counted once it is there, so that of several servers each sees what the others count.
        with self._database.write() as session:
            waits = [
                _wait(session, attempt, most, now, interval)
                for attempt, most in zip(own, limits.values(), strict=True)
                if most
            ]
            if not any(waits):
                return
            session.execute(sa.delete(SignInAttempt).where(SignInAttempt.sequence.in_([one.sequence for one in own])))
        minutes = max(1, round(max(waits, default=timedelta()).total_seconds() / 60))
        raise TooManyAttemptsError(f"Too many {what}. Wait {minutes} min and try again.")

    def _slow_down(self, account: str) -> None:
        with self._database.read() as session:
            failures = session.scalar(sa.select(sa.func.count()).where(SignInAttempt.subject == account)) or 0
        seconds = min(_LONGEST_SECONDS, _STEP_SECONDS * (failures - MOST_OF_ACCOUNT))
        if seconds <= 0:
            return
        if not self._waiting.acquire(blocking=False):
            raise TooManyAttemptsError("Too many sign-in attempts are in progress. Try again in a minute.")
        try:
            time.sleep(seconds)
        finally:
            self._waiting.release()


def _wait(session: sa.orm.Session, attempt: SignInAttempt, most: int, now: datetime, interval: timedelta) -> timedelta:
    """Return how long this attempt is too early, zero where it is not."""
    recent = sa.select(SignInAttempt.at).where(
        SignInAttempt.subject == attempt.subject,
        SignInAttempt.at > now - WINDOW,
        SignInAttempt.sequence != attempt.sequence,
    )
    times = session.scalars(recent.order_by(SignInAttempt.at.desc()).limit(most)).all()
    if len(times) < most:
        return timedelta()
    oldest_leaves, interval_ends = times[-1] + WINDOW, times[0] + interval
    return max(timedelta(), min(oldest_leaves, interval_ends) - now)


def _take_back(session: sa.orm.Session, subject: str) -> None:
    newest = sa.select(sa.func.max(SignInAttempt.sequence)).where(SignInAttempt.subject == subject).scalar_subquery()
    session.execute(sa.delete(SignInAttempt).where(SignInAttempt.sequence == newest))


def _subjects(name: str, address: str) -> tuple[str, str, str]:
    """Return the subjects that an attempt counts for: the account from the address, the address, the account."""
    account, network = name.strip().lower()[:320], client_key(address)
    return (
        _hashed(f"account:{account}\naddress:{network}"),
        _hashed(f"address:{network}"),
        _hashed(f"account:{account}"),
    )


def _hashed(subject: str) -> str:
    return hashlib.sha256(subject.encode()).hexdigest()
