"""Scores of submissions, and reputations of models and accounts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased, joinedload

from predictd.db.models import Account, Model, Round, Submission
from predictd.db.score_tables import Reputation, Score
from predictd.domain.score_configs import METRICS

YEAR = timedelta(days=365)


def record_reputations(session: Session, tournament: int, at: datetime) -> None:
    """Store the mean scores of each model over the year up to `at`, replacing those of the same day."""
    day = day_of(at)
    means = [sa.func.avg(getattr(Score, name)).label(name) for name in METRICS]
    averages = session.execute(
        sa.select(Score.model_id, sa.func.count().label("rounds"), *means)
        .join(Model, Model.id == Score.model_id)
        .where(
            Model.tournament == tournament, Model.archived_at.is_(None), Score.is_latest, Score.scored_at > at - YEAR
        )
        .group_by(Score.model_id)
    ).all()
    rows: list[dict[str, Any]] = [{**row._mapping, "day": day, "tournament": tournament} for row in averages]
    for name in METRICS:
        for row, rank in zip(rows, _ranks([row[name] for row in rows]), strict=True):
            row[f"{name}_rank"] = rank
    session.execute(sa.delete(Reputation).where(Reputation.tournament == tournament, Reputation.day == day))
    if rows:
        session.execute(sa.insert(Reputation), rows)


def day_of(at: datetime) -> datetime:
    """Return the start of the day in UTC."""
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def _ranks(values: Sequence[float | None]) -> list[int | None]:
    """Return the ranks, 1 for the highest; equal values share the better rank."""
    ordered = sorted((value for value in values if value is not None), reverse=True)
    ranks: dict[float, int] = {}
    for rank, value in enumerate(ordered, start=1):
        ranks.setdefault(value, rank)
    return [None if value is None else ranks[value] for value in values]


@dataclass(frozen=True, kw_only=True)
class LeaderboardOrder:
    """The order of a leaderboard: by metric, or by name if None."""

    metric: str | None
    descending: bool


@dataclass(frozen=True, kw_only=True)
class LeaderboardEntry:
    """A model with its reputation; `previous_rank` is its rank on the previous scoring day, if any."""

    reputation: Reputation
    model: Model
    previous_rank: int | None


def latest_day(session: Session, tournament: int, before: datetime | None = None) -> datetime | None:
    """Return the newest day with reputations, optionally before a day."""
    query = sa.select(sa.func.max(Reputation.day)).where(Reputation.tournament == tournament)
    return session.scalar(query if before is None else query.where(Reputation.day < before))


def leaderboard(
    session: Session, tournament: int, ordering: LeaderboardOrder, *, name: str | None, limit: int | None, offset: int
) -> list[LeaderboardEntry]:
    """Return the models by reputation on the newest day, optionally only those whose name contains `name`."""
    day = latest_day(session, tournament)
    if day is None:
        return []
    previous = aliased(Reputation)
    query = (
        sa.select(Reputation, Model, previous.corr_rank)
        .join(Model, Model.id == Reputation.model_id)
        .outerjoin(
            previous,
            sa.and_(previous.model_id == Reputation.model_id, previous.day == latest_day(session, tournament, day)),
        )
        .where(Reputation.tournament == tournament, Reputation.day == day)
        .options(joinedload(Model.account))
    )
    if name:
        query = query.where(Model.name_key.contains(name.lower(), autoescape=True))
    column = Model.name_key if ordering.metric is None else getattr(Reputation, ordering.metric)
    query = query.order_by(
        (column.desc() if ordering.descending else column.asc()).nulls_last(), Model.name_key
    ).offset(offset)
    rows = session.execute(query if limit is None else query.limit(limit)).all()
    return [LeaderboardEntry(reputation=row[0], model=row[1], previous_rank=row[2]) for row in rows]


@dataclass(frozen=True, kw_only=True)
class AccountLeaderboardEntry:
    """The mean reputation of the models of an account by metric; `rank` is by corr."""

    account: Account
    rank: int | None
    means: dict[str, float | None]


def account_leaderboard(
    session: Session, tournament: int, ordering: LeaderboardOrder, *, name: str | None, limit: int | None, offset: int
) -> list[AccountLeaderboardEntry]:
    """Return the accounts by the mean reputation of their models on the newest day."""
    day = latest_day(session, tournament)
    if day is None:
        return []
    means = {metric: sa.func.avg(getattr(Reputation, metric)).label(metric) for metric in METRICS}
    by_account = (
        sa.select(Model.account_id, *means.values())
        .join(Model, Model.id == Reputation.model_id)
        .where(Reputation.tournament == tournament, Reputation.day == day)
        .group_by(Model.account_id)
        .subquery()
    )
    rank = sa.func.rank().over(order_by=by_account.c.corr.desc().nulls_last()).label("rank")
    ranked = sa.select(by_account, rank).subquery()
    column = Account.username_key if ordering.metric is None else ranked.c[ordering.metric]
    query = (
        sa.select(Account, ranked)
        .join(ranked, ranked.c.account_id == Account.id)
        .order_by((column.desc() if ordering.descending else column.asc()).nulls_last(), Account.username_key)
        .offset(offset)
    )
    if name:
        query = query.where(Account.username_key.contains(name.lower(), autoescape=True))
    rows = session.execute(query if limit is None else query.limit(limit)).all()
    return [
        AccountLeaderboardEntry(
            account=row[0],
            rank=row._mapping["rank"] if row._mapping["corr"] is not None else None,
            means={metric: row._mapping[metric] for metric in METRICS},
        )
        for row in rows
    ]


def list_reputations(session: Session, model_id: str, limit: int | None = None) -> Sequence[Reputation]:
    """Return the reputations of a model, newest first."""
    query = sa.select(Reputation).where(Reputation.model_id == model_id).order_by(Reputation.day.desc())
    return session.scalars(query if limit is None else query.limit(limit)).all()


def list_scores(session: Session, model_id: str, *, rounds: Sequence[str] | None = None) -> Sequence[Score]:
    """Return the scores of a model with their rounds, newest round first, then by day; optionally only of `rounds`."""
    query = (
        sa.select(Score)
        .join(Round, Round.id == Score.round_id)
        .where(Score.model_id == model_id)
        .options(joinedload(Score.round))
        .order_by(Round.number.desc(), Score.day)
    )
    return session.scalars(query if rounds is None else query.where(Score.round_id.in_(rounds))).all()


def list_latest_scores(session: Session, model_id: str, limit: int) -> Sequence[Score]:
    """Return the newest scores of a model in each of its last scored rounds, newest round first."""
    return session.scalars(
        sa.select(Score)
        .join(Round, Round.id == Score.round_id)
        .where(Score.model_id == model_id, Score.is_latest)
        .options(joinedload(Score.round))
        .order_by(Round.number.desc())
        .limit(limit)
    ).all()


def latest_scores_by_model(session: Session, round_id: str) -> dict[str, Score]:
    """Return the newest scores of a round by model id."""
    scores = session.scalars(sa.select(Score).where(Score.round_id == round_id, Score.is_latest))
    return {score.model_id: score for score in scores}


def list_selected_submissions(session: Session, round_id: str) -> Sequence[tuple[Submission, float]]:
    """Return the selected submissions of the round with the meta model weights of their models, oldest first."""
    rows = session.execute(
        sa.select(Submission, Model.meta_model_weight)
        .join(Model, Model.id == Submission.model_id)
        .where(Submission.round_id == round_id, Submission.selected)
        .order_by(Submission.inserted_at, Submission.id)
    ).all()
    return [(row[0], row[1]) for row in rows]
