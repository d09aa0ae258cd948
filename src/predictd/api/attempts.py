"""How often somebody may try a password: counted in the database, by account and by address, for all servers."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from predictd.db import Database
from predictd.db.shared_tables import SignInAttempt
from predictd.domain.errors import PredictdError

WINDOW = timedelta(minutes=15)
MOST_OF_ACCOUNT = 10
MOST_OF_ADDRESS = 50


class TooManyAttemptsError(PredictdError):
    """There were too many attempts."""

    code = "too_many_attempts"


class Attempts:
    """Failures of the last quarter of an hour. Of names and addresses, only hashes are kept."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._clock = clock

    def begin(self, name: str, address: str) -> None:
        """Count an attempt as failed until `succeed` says otherwise, so that many at once are not let through.

        Raises:
            TooManyAttemptsError: for this account, or from this address, too many have failed.
        """
        now = self._clock()
        own = [SignInAttempt(subject=subject, at=now) for subject in _subjects(name, address)]
        with self._database.write() as session:
            session.execute(sa.delete(SignInAttempt).where(SignInAttempt.at <= now - WINDOW))
            session.add_all(own)
        # Counted once it is there, so that of several servers each sees what the others count.
        with self._database.write() as session:
            for attempt, most in zip(own, (MOST_OF_ACCOUNT, MOST_OF_ADDRESS), strict=True):
                recent = sa.select(SignInAttempt.at).where(
                    SignInAttempt.subject == attempt.subject, SignInAttempt.at > now - WINDOW
                )
                times = session.scalars(recent.order_by(SignInAttempt.at).limit(most + 1)).all()
                if len(times) > most:
                    break
            else:
                return
            session.execute(sa.delete(SignInAttempt).where(SignInAttempt.sequence.in_([one.sequence for one in own])))
        minutes = max(1, round((times[0] + WINDOW - now).total_seconds() / 60))
        raise TooManyAttemptsError(f"There were too many attempts to sign in; wait for {minutes} min and try again.")

    def succeed(self, name: str, address: str) -> None:
        """Take back the attempt, and what failed for the account before."""
        account, origin = _subjects(name, address)
        newest = sa.select(sa.func.max(SignInAttempt.sequence)).where(SignInAttempt.subject == origin).scalar_subquery()
        with self._database.write() as session:
            session.execute(sa.delete(SignInAttempt).where(SignInAttempt.subject == account))
            session.execute(sa.delete(SignInAttempt).where(SignInAttempt.sequence == newest))


def _subjects(name: str, address: str) -> tuple[str, str]:
    account = f"account:{name.strip().lower()[:320]}"
    return _hashed(account), _hashed(f"address:{address}")


def _hashed(subject: str) -> str:
    return hashlib.sha256(subject.encode()).hexdigest()
