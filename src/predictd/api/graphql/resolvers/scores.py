"""Scores of submissions and rounds, which are public; an unknown model has none."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any

from ariadne import MutationType, QueryType
from sqlalchemy import select
from sqlalchemy.orm import Session

from predictd.api.graphql.resolvers.objects import Info, Object, context_of
from predictd.api.graphql.resolvers.rounds import TARGET
from predictd.db.models import Model, Round, Submission
from predictd.db.score_tables import Reputation, Score
from predictd.db.scores import list_latest_scores, list_reputations, list_scores
from predictd.domain.names import CLASSIC
from predictd.domain.score_configs import SCORE_CONFIGS, ScoreConfig
from predictd.http.context import Context

query = QueryType()
mutation = MutationType()

LATEST_ROUNDS = 20


def score_object(score: Score, config: ScoreConfig) -> Object:
    """Return the type SubmissionScore: one score of a submission on one day."""
    round_ = score.round
    return {
        "submissionId": score.submission_id,
        "roundId": round_.id,
        "roundNumber": round_.number,
        "displayName": config.display_name,
        "version": config.version,
        "value": getattr(score, config.metric),
        "percentile": getattr(score, f"{config.metric}_percentile"),
        "day": score.day,
        "date": score.scored_at,
        "resolved": score.resolved,
        "resolveDate": round_.resolved_at or round_.resolve_time,
        "roundCloseStakingTime": round_.close_time,
        "roundScoreTime": round_.score_time,
        "roundResolveTime": round_.resolve_time,
    }


def score_objects(scores: Sequence[Score]) -> list[Object]:
    """Return all scores of these days."""
    return [score_object(score, config) for score in scores for config in SCORE_CONFIGS]


def user_score_objects(reputations: Sequence[Reputation]) -> list[Object]:
    """Return the type UserScore for each score of each day."""
    return [
        {
            "displayName": config.display_name,
            "date": reputation.day,
            "rank": getattr(reputation, f"{config.metric}_rank"),
            "reputation": getattr(reputation, config.metric),
        }
        for reputation in reputations
        for config in SCORE_CONFIGS
    ]


def latest_submission_scores(session: Session, model: Model) -> list[Object]:
    """Return the latest scores of a model in its recent scored rounds, newest round first."""
    return score_objects(list_latest_scores(session, model.id, LATEST_ROUNDS))


def daily_performance_object(reputation: Reputation) -> Object:
    """Return the type DailyModelPerformance."""
    return {
        "date": reputation.day,
        "corrRep": reputation.corr,
        "corrRank": reputation.corr_rank,
        "mmcRep": reputation.mmc,
        "mmcRank": reputation.mmc_rank,
        "fncRep": reputation.fnc,
        "fncRank": reputation.fnc_rank,
        "fncV3Rep": reputation.fnc_v3,
        "fncV3Rank": reputation.fnc_v3_rank,
    }


@query.field("submissionScores")
def resolve_submission_scores(
    _: Any,
    info: Info,
    modelId: str,
    displayName: str | None = None,
    version: str | None = None,
    day: int | None = None,
    resolved: bool | None = None,
    tournament: int | None = None,
    lastNRounds: int | None = None,
    distinctOnRound: bool | None = None,
) -> list[Object]:
    """Return the scores of a model, newest round first; with `distinctOnRound` only the latest day of each round."""
    if tournament not in (None, CLASSIC):
        return []
    scores = list_scores(context_of(info).session, modelId)
    if lastNRounds is not None:
        rounds = list(dict.fromkeys(score.round_id for score in scores))[: max(lastNRounds, 0)]
        scores = [score for score in scores if score.round_id in rounds]
    if day is not None:
        scores = [score for score in scores if score.day == day]
    if resolved is not None:
        scores = [score for score in scores if score.resolved is resolved]
    if distinctOnRound:
        scores = [list(days)[-1] for _, days in groupby(scores, key=lambda score: score.round_id)]
    return [
        score
        for score in score_objects(scores)
        if displayName in (None, score["displayName"]) and version in (None, score["version"])
    ]


@query.field("userScores")
def resolve_user_scores(_: Any, info: Info, modelId: str) -> list[Object]:
    """Return the reputation and rank of a model by score and day, newest first."""
    return user_score_objects(list_reputations(context_of(info).session, modelId))


@dataclass(frozen=True, kw_only=True)
class _RoundFilter:
    """A filter of rounds."""

    resolved_only: bool
    resolved_days: int | None
    scored_days: int | None
    datestamp_from: int | None
    number: int | None
    number_from: int | None
    number_to: int | None

    def matches(self, round_: Round, submission: Submission | None, context: Context) -> bool:
        def is_within(time: Any, days: int | None) -> bool:
            return days is None or (time is not None and time >= context.now - timedelta(days=days))

        datestamp = submission.data_datestamp if submission is not None else None
        return (
            (not self.resolved_only or round_.resolved_at is not None)
            and is_within(round_.resolved_at, self.resolved_days)
            and is_within(round_.scored_at, self.scored_days)
            and (self.datestamp_from is None or (datestamp is not None and datestamp >= self.datestamp_from))
            and (self.number is None or round_.number == self.number)
            and (self.number_from is None or round_.number >= self.number_from)
            and (self.number_to is None or round_.number <= self.number_to)
        )


@query.field("v2RoundModelPerformances")
def resolve_round_model_performances(
    _: Any,
    info: Info,
    modelId: str,
    tournament: int | None = CLASSIC,
    distinctOnRound: bool | None = None,
    lastNRounds: int | None = None,
    limit: int | None = None,
    offset: int | None = None,
    resolvedOnly: bool | None = None,
    resolvedWithinLastNDays: int | None = None,
    roundDataDatestampGte: int | None = None,
    roundNumberEq: int | None = None,
    roundNumberGte: int | None = None,
    roundNumberLte: int | None = None,
    scoredWithinLastNDays: int | None = None,
    submittedOnly: bool | None = None,
) -> list[Object]:
    """Return the scores of a model in each round since its creation, newest first."""
    context = context_of(info)
    model = context.session.get(Model, modelId)
    if model is None or (tournament is not None and model.tournament != tournament):
        return []
    round_filter = _RoundFilter(
        resolved_only=bool(resolvedOnly),
        resolved_days=resolvedWithinLastNDays,
        scored_days=scoredWithinLastNDays,
        datestamp_from=roundDataDatestampGte,
        number=roundNumberEq,
        number_from=roundNumberGte,
        number_to=roundNumberLte,
    )
    submissions = {
        submission.round_id: submission
        for submission in context.session.scalars(
            select(Submission).where(Submission.model_id == model.id, Submission.selected)
        )
    }
    rounds = context.session.scalars(
        select(Round)
        .where(Round.tournament == model.tournament, Round.close_time >= model.inserted_at)
        .order_by(Round.number.desc())
    ).all()
    if lastNRounds is not None:
        rounds = rounds[: max(lastNRounds, 0)]
    selected = [
        round_
        for round_ in rounds
        if round_filter.matches(round_, submissions.get(round_.id), context)
        and (not submittedOnly or round_.id in submissions)
    ]
    start = max(offset or 0, 0)
    selected = selected[start : start + max(limit, 0) if limit is not None else None]
    scores: dict[str, list[Score]] = {}
    for score in list_scores(context.session, model.id, rounds=[round_.id for round_ in selected]):
        scores.setdefault(score.round_id, []).append(score)
    return [_performance(round_, submissions.get(round_.id), scores.get(round_.id, [])) for round_ in selected]


def _performance(round_: Round, submission: Submission | None, scores: Sequence[Score]) -> Object:
    return {
        "roundId": round_.id,
        "roundNumber": round_.number,
        "roundTarget": TARGET,
        "roundOpenTime": round_.open_time,
        "roundCloseStakingTime": round_.close_time,
        "roundScoreTime": round_.score_time,
        "roundResolveTime": round_.resolve_time,
        "roundResolved": round_.resolved_at is not None,
        "roundDataDatestamp": submission.data_datestamp if submission is not None else None,
        "submissionId": submission.id if submission is not None else None,
        "submissionScores": lambda info: score_objects([score for score in scores if score.is_latest]),
        "intraRoundSubmissionScores": lambda info: score_objects(scores),
        "allSubmissionScores": lambda info: score_objects(scores),
        "payoutMultipliers": [],
        "tickersAcceptedCount": submission.row_count if submission is not None else None,
        "tickersSubmittedCount": submission.row_count if submission is not None else None,
    }
