"""Scores of submissions, and what they come to for models and accounts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased, joinedload

from predictd.db.models import Account, Model, Round, Submission
from predictd.db.score_tables import Reputation, Score
from predictd.domain.scores import METRICS

YEAR = timedelta(days=365)


def record_reputations(session: Session, tournament: int, at: datetime) -> None:
    """Keep what the scores of the year up to `at` come to for each model, in place of what the day had so far."""
    day = day_of(at)
    means = [sa.func.avg(getattr(Score, name)).label(name) for name in METRICS]
    found = session.execute(
        sa.select(Score.model_id, sa.func.count().label("rounds"), *means)
        .join(Model, Model.id == Score.model_id)
        .where(
            Model.tournament == tournament, Model.archived_at.is_(None), Score.is_latest, Score.scored_at > at - YEAR
        )
        .group_by(Score.model_id)
    ).all()
    rows: list[dict[str, Any]] = [{**row._mapping, "day": day, "tournament": tournament} for row in found]
    for name in METRICS:
        for row, rank in zip(rows, _ranks([row[name] for row in rows]), strict=True):
            row[f"{name}_rank"] = rank
    session.execute(sa.delete(Reputation).where(Reputation.tournament == tournament, Reputation.day == day))
    if rows:
        session.execute(sa.insert(Reputation), rows)


def day_of(at: datetime) -> datetime:
    """The beginning of that day, in UTC."""
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def _ranks(values: Sequence[float | None]) -> list[int | None]:
    """1 for the highest; equal values share the better rank."""
    ordered = sorted((value for value in values if value is not None), reverse=True)
    places: dict[float, int] = {}
    for place, value in enumerate(ordered, start=1):
        places.setdefault(value, place)
    return [None if value is None else places[value] for value in values]


@dataclass(frozen=True, kw_only=True)
class Ordering:
    """How a leaderboard is ordered: the metric, or None for the name; and whether the highest comes first."""

    metric: str | None
    descending: bool


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A model's place among all; `rank_before` is that of the scoring before, None if it had none."""

    reputation: Reputation
    model: Model
    rank_before: int | None


def latest_day(session: Session, tournament: int, before: datetime | None = None) -> datetime | None:
    """The newest day that has reputations, or the newest before a day."""
    query = sa.select(sa.func.max(Reputation.day)).where(Reputation.tournament == tournament)
    return session.scalar(query if before is None else query.where(Reputation.day < before))


def leaderboard(
    session: Session, tournament: int, ordering: Ordering, *, name: str | None, limit: int | None, offset: int
) -> list[Standing]:
    """The models by their reputation of the newest day; of those that `name` is a part of, if it is given."""
    day = latest_day(session, tournament)
    if day is None:
        return []
    before = aliased(Reputation)
    query = (
        sa.select(Reputation, Model, before.corr_rank)
        .join(Model, Model.id == Reputation.model_id)
        .outerjoin(
            before,
            sa.and_(before.model_id == Reputation.model_id, before.day == latest_day(session, tournament, day)),
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
    found = session.execute(query if limit is None else query.limit(limit)).all()
    return [Standing(reputation=row[0], model=row[1], rank_before=row[2]) for row in found]


@dataclass(frozen=True, kw_only=True)
class AccountStanding:
    """An account's mean reputation over its models, by METRICS; `rank` is by corr."""

    account: Account
    rank: int | None
    means: dict[str, float | None]


def account_leaderboard(
    session: Session, tournament: int, ordering: Ordering, *, name: str | None, limit: int | None, offset: int
) -> list[AccountStanding]:
    """The accounts by the mean reputation of their models on the newest day."""
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
    found = session.execute(query if limit is None else query.limit(limit)).all()
    return [
        AccountStanding(
            account=row[0],
            rank=row._mapping["rank"] if row._mapping["corr"] is not None else None,
            means={metric: row._mapping[metric] for metric in METRICS},
        )
        for row in found
    ]


def reputations_of(session: Session, model_id: str, limit: int | None = None) -> Sequence[Reputation]:
    """A model's reputations, newest first."""
    query = sa.select(Reputation).where(Reputation.model_id == model_id).order_by(Reputation.day.desc())
    return session.scalars(query if limit is None else query.limit(limit)).all()


def scores_of_model(session: Session, model_id: str, *, rounds: Sequence[str] | None = None) -> Sequence[Score]:
    """A model's scores with their rounds, newest round first, in each the days in order; of these rounds alone, if
    they are given."""
    query = (
        sa.select(Score)
        .join(Round, Round.id == Score.round_id)
        .where(Score.model_id == model_id)
        .options(joinedload(Score.round))
        .order_by(Round.number.desc(), Score.day)
    )
    return session.scalars(query if rounds is None else query.where(Score.round_id.in_(rounds))).all()


def latest_scores_of_model(session: Session, model_id: str, limit: int) -> Sequence[Score]:
    """The newest scores of a model in each of its last rounds that have some, newest round first."""
    return session.scalars(
        sa.select(Score)
        .join(Round, Round.id == Score.round_id)
        .where(Score.model_id == model_id, Score.is_latest)
        .options(joinedload(Score.round))
        .order_by(Round.number.desc())
        .limit(limit)
    ).all()


def latest_scores_of_round(session: Session, round_id: str) -> dict[str, Score]:
    """The newest scores of a round by the id of the model."""
    found = session.scalars(sa.select(Score).where(Score.round_id == round_id, Score.is_latest))
    return {score.model_id: score for score in found}


def selected_submissions(session: Session, round_id: str) -> Sequence[tuple[Submission, float]]:
    """What counts for the round, each with its model's weight in the meta model, in the order of their arrival."""
    found = session.execute(
        sa.select(Submission, Model.meta_model_weight)
        .join(Model, Model.id == Submission.model_id)
        .where(Submission.round_id == round_id, Submission.selected)
        .order_by(Submission.inserted_at, Submission.id)
    ).all()
    return [(row[0], row[1]) for row in found]
