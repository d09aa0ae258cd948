"""Rate limits of sign-in and sign-up, counted in the database for all servers.

Failures count for the pair of an account and an address, and for the address. Above the limit, one attempt per
`INTERVAL` is allowed, so that nobody can lock another account: its owner uses another address. Many failures of one
account from any address slow down further attempts.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from predictd.db import Database
from predictd.db.sessions import SignInAttempt
from predictd.domain.errors import PredictdError
from predictd.domain.ip_addresses import client_key

WINDOW = timedelta(minutes=15)
INTERVAL = timedelta(minutes=1)
MAX_FAILURES_OF_PAIR = 10
MAX_FAILURES_OF_ADDRESS = 50
MAX_FAILURES_OF_ACCOUNT = 30
MAX_SIGN_UPS = 10
_STEP_SECONDS = 0.1
_MAX_DELAY_SECONDS = 2.0
# RateLimiter that are slowed down hold a thread each, so that only some of them wait at a time.
_MAX_DELAYED = 8


class TooManyAttemptsError(PredictdError):
    """Too many attempts."""

    code = "too_many_attempts"


class RateLimiter:
    """Counts attempts within `WINDOW`. Only hashes of names and addresses are stored."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._clock = clock
        self._waiting = threading.BoundedSemaphore(_MAX_DELAYED)

    def begin(self, name: str, address: str) -> None:
        """Count an attempt as failed until `succeed` is called, so that concurrent attempts count too.

        Returns with a delay if many attempts on the account have failed.

        Raises:
            TooManyAttemptsError: too many attempts for this account from this address, or from this address, failed,
                and the last was less than `INTERVAL` ago; or too many other attempts are delayed.
        """
        pair, origin, account = _subjects(name, address)
        self._count(
            {pair: MAX_FAILURES_OF_PAIR, origin: MAX_FAILURES_OF_ADDRESS, account: 0}, INTERVAL, "attempts to sign in"
        )
        self._slow_down(account)

    def succeed(self, name: str, address: str) -> None:
        """Remove the attempt, and the failures for the account from that address."""
        pair, origin, account = _subjects(name, address)
        with self._database.write() as session:
            session.execute(sa.delete(SignInAttempt).where(SignInAttempt.subject == pair))
            for subject in (origin, account):
                _remove_latest(session, subject)

    @contextmanager
    def sign_up(self, address: str) -> Iterator[None]:
        """Count the account that is created within this context for the address, unless its creation fails.

        Raises:
            TooManyAttemptsError: the address has created `MAX_SIGN_UPS` accounts within `WINDOW`.
        """
        subject = _hashed(f"sign-up:{client_key(address)}")
        self._count({subject: MAX_SIGN_UPS}, WINDOW, "accounts created from your address")
        try:
            yield
        except PredictdError:
            with self._database.write() as session:
                _remove_latest(session, subject)
            raise

    def _count(self, limits: dict[str, int], interval: timedelta, description: str) -> None:
        """Count an attempt for each subject; raise and count nothing if one is above its limit (0 for no limit).

        Above its limit a subject has another attempt once its last is older than the interval.
        """
        now = self._clock()
        attempts = [SignInAttempt(subject=subject, at=now) for subject in limits]
        with self._database.write() as session:
            session.execute(sa.delete(SignInAttempt).where(SignInAttempt.at <= now - WINDOW))
            session.add_all(attempts)
        # Counted after the insert is committed, so that concurrent servers see each other's attempts.
        with self._database.write() as session:
            waits = [
                _wait(session, attempt, limit, now, interval)
                for attempt, limit in zip(attempts, limits.values(), strict=True)
                if limit
            ]
            if not any(waits):
                return
            session.execute(
                sa.delete(SignInAttempt).where(SignInAttempt.sequence.in_([attempt.sequence for attempt in attempts]))
            )
        minutes = max(1, round(max(waits, default=timedelta()).total_seconds() / 60))
        raise TooManyAttemptsError(f"Too many {description}. Wait {minutes} min and try again.")

    def _slow_down(self, account: str) -> None:
        with self._database.read() as session:
            failures = session.scalar(sa.select(sa.func.count()).where(SignInAttempt.subject == account)) or 0
        seconds = min(_MAX_DELAY_SECONDS, _STEP_SECONDS * (failures - MAX_FAILURES_OF_ACCOUNT))
        if seconds <= 0:
            return
        if not self._waiting.acquire(blocking=False):
            raise TooManyAttemptsError("Too many sign-in attempts are in progress. Try again in a minute.")
        try:
            time.sleep(seconds)
        finally:
            self._waiting.release()


def _wait(session: sa.orm.Session, attempt: SignInAttempt, limit: int, now: datetime, interval: timedelta) -> timedelta:
    """Return how long this attempt is too early; zero if it is allowed."""
    recent = sa.select(SignInAttempt.at).where(
        SignInAttempt.subject == attempt.subject,
        SignInAttempt.at > now - WINDOW,
        SignInAttempt.sequence != attempt.sequence,
    )
    times = session.scalars(recent.order_by(SignInAttempt.at.desc()).limit(limit)).all()
    if len(times) < limit:
        return timedelta()
    oldest_leaves, interval_ends = times[-1] + WINDOW, times[0] + interval
    return max(timedelta(), min(oldest_leaves, interval_ends) - now)


def _remove_latest(session: sa.orm.Session, subject: str) -> None:
    latest = sa.select(sa.func.max(SignInAttempt.sequence)).where(SignInAttempt.subject == subject).scalar_subquery()
    session.execute(sa.delete(SignInAttempt).where(SignInAttempt.sequence == latest))


def _subjects(name: str, address: str) -> tuple[str, str, str]:
    """Return the subjects that an attempt counts for: the account from the address, the address, the account."""
    account, client = name.strip().lower()[:320], client_key(address)
    return (
        _hashed(f"account:{account}\naddress:{client}"),
        _hashed(f"address:{client}"),
        _hashed(f"account:{account}"),
    )


def _hashed(subject: str) -> str:
    return hashlib.sha256(subject.encode()).hexdigest()
