"""Queries of rounds."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from predictd.db.models import Round
from predictd.domain.states import RoundStatus


def current_round(session: Session, tournament: int, now: datetime) -> Round | None:
    """Return the open round at this time."""
    return session.scalar(
        select(Round)
        .where(
            Round.tournament == tournament,
            Round.is_closed.is_(False),
            Round.open_time <= now,
            Round.close_time > now,
        )
        .order_by(Round.number.desc())
        .limit(1)
    )


def latest_round(session: Session, tournament: int, now: datetime) -> Round | None:
    """Return the newest round that has opened, including closed ones."""
    return session.scalar(
        select(Round)
        .where(Round.tournament == tournament, Round.open_time <= now)
        .order_by(Round.number.desc())
        .limit(1)
    )


def find_round(session: Session, tournament: int, number: int) -> Round | None:
    """Return the round with this number; None also if the number exceeds the column type."""
    if not 0 <= number < 1 << 31:
        return None
    return session.scalar(select(Round).where(Round.tournament == tournament, Round.number == number))


def next_number(session: Session, tournament: int) -> int:
    """Return the number of the next round, 1 for the first."""
    return (session.scalar(select(func.max(Round.number)).where(Round.tournament == tournament)) or 0) + 1


def list_rounds(session: Session, tournament: int, limit: int | None = None) -> Sequence[Round]:
    """Return the rounds, newest first."""
    query = select(Round).where(Round.tournament == tournament).order_by(Round.number.desc())
    return session.scalars(query.limit(limit) if limit is not None else query).all()


def status_of(round_: Round, now: datetime) -> RoundStatus:
    """Return the status of the round at this time."""
    if now < round_.open_time:
        return RoundStatus.UPCOMING
    if not round_.is_closed and now < round_.close_time:
        return RoundStatus.OPEN
    return RoundStatus.RESOLVING if round_.resolved_at is None else RoundStatus.RESOLVED
