"""Tournaments and rounds."""

from datetime import UTC, datetime, timedelta
from typing import Any

from ariadne import MutationType, QueryType
from sqlalchemy import func, select
from sqlalchemy.orm import InstrumentedAttribute

from predictd.api.graphql.resolvers.objects import Info, Object, context_of
from predictd.db.models import Model, Round, Submission
from predictd.db.rounds import current_round, find_round, list_rounds, status_of
from predictd.db.score_tables import Score
from predictd.db.scores import latest_scores_by_model
from predictd.domain.errors import ConflictError, InvalidInputError, NotFoundError
from predictd.domain.names import CLASSIC
from predictd.domain.score_configs import SCORE_CONFIGS, ScoreConfig
from predictd.domain.states import RoundStatus
from predictd.rounds.calendar import scoring_times

query = QueryType()
mutation = MutationType()

TARGET = "target"
NO_CURRENT_ROUND = "Current round not open for submissions"


def round_object(round_: Round) -> Object:
    """Return the type Round."""
    is_resolved = round_.resolved_at is not None
    return {
        "id": round_.id,
        "number": round_.number,
        "tournament": round_.tournament,
        "target": TARGET,
        "isDaily": round_.open_time.weekday() in {1, 2, 3, 4},
        "openTime": round_.open_time,
        "closeTime": round_.close_time,
        "closeStakingTime": round_.close_time,
        "scoreTime": round_.score_time,
        "resolveTime": round_.resolve_time,
        "resolvedGeneral": is_resolved,
        "resolvedStaking": is_resolved,
        "roundScoreConfigs": lambda info: [_config_object(round_, config) for config in SCORE_CONFIGS],
    }


def _config_object(round_: Round, config: ScoreConfig) -> Object:
    """Return the type RoundScoreConfig."""
    times = scoring_times(round_.score_time, round_.resolve_time)
    return {
        "id": f"{round_.id}:{config.display_name}",
        "scoreConfigId": config.display_name,
        "roundNumberStart": round_.number,
        "roundNumberEnd": round_.number,
        "name": config.name,
        "version": config.version,
        "displayName": config.display_name,
        "totalScoreDays": len(times),
        "isCanonScore": config.is_canonical,
        "isPayout": False,
        "scoringStart": times[0],
        "scoringEnd": times[-1],
    }


@query.field("tournaments")
def resolve_tournaments(_: Any, info: Info) -> list[Object]:
    """Return the tournaments of this server."""
    context = context_of(info)
    return [
        {
            "id": str(CLASSIC),
            "name": "classic",
            "tournament": CLASSIC,
            "active": True,
            "rounds": lambda info: [round_object(round_) for round_ in list_rounds(context.session, CLASSIC)],
        }
    ]


@query.field("rounds")
def resolve_rounds(
    _: Any,
    info: Info,
    tournament: int | None = None,
    number: int | None = None,
    status: str | None = None,
    target: str | None = None,
    limit: int | None = None,
) -> list[Object]:
    """Return rounds, newest first; number 0 is the current round."""
    context = context_of(info)
    tournament = CLASSIC if tournament is None else tournament
    if number == 0:
        current = current_round(context.session, tournament, context.now)
        if current is None:
            raise ConflictError(NO_CURRENT_ROUND)
        return [round_object(current)]
    if number is not None:
        round_ = find_round(context.session, tournament, number)
        rounds = [round_] if round_ is not None else []
    else:
        rounds = list(list_rounds(context.session, tournament))
    if status is not None:
        rounds = [round_ for round_ in rounds if status_of(round_, context.now) == RoundStatus(status)]
    if target is not None and target != TARGET:
        rounds = []
    return [round_object(round_) for round_ in rounds[: max(limit, 0) if limit is not None else None]]


@query.field("roundDetails")
def resolve_round_details(_: Any, info: Info, roundNumber: int, tournament: int) -> Object:
    """Return a round with its models and their latest scores, which are null until the round is scored."""
    context = context_of(info)
    round_ = find_round(context.session, tournament, roundNumber)
    if round_ is None:
        raise NotFoundError(f"Round {roundNumber} of tournament {tournament} not found.")
    submitted = select(Submission.model_id).where(Submission.round_id == round_.id, Submission.selected)
    models = context.session.execute(
        select(Model.id, Model.name).where(Model.id.in_(submitted)).order_by(Model.name)
    ).all()
    details = round_object(round_)
    scores = latest_scores_by_model(context.session, round_.id)
    return {
        "roundId": round_.id,
        "roundNumber": round_.number,
        "tournament": round_.tournament,
        "status": status_of(round_, context.now),
        "roundTarget": TARGET,
        "isDaily": details["isDaily"],
        "openTime": round_.open_time,
        "closeTime": round_.close_time,
        "closeStakingTime": round_.close_time,
        "scoreTime": round_.score_time,
        "roundResolveTime": round_.resolve_time,
        "scoresUpdatedTime": round_.scored_at,
        "roundResolved": details["resolvedGeneral"],
        "totalSubmitted": len(models),
        "models": [_model_data(model.id, model.name, round_, scores.get(model.id)) for model in models],
    }


def _model_data(model_id: str, name: str, round_: Round, score: Score | None) -> Object:
    """Return the type ModelData."""
    return {
        "id": model_id,
        "modelName": name,
        "roundId": round_.id,
        "corr": score.corr if score else None,
        "corrPercentile": score.corr_percentile if score else None,
        "v2Corr20": score.corr if score else None,
        "v2Corr20Percentile": score.corr_percentile if score else None,
        "mmc": score.mmc if score else None,
        "mmcPercentile": score.mmc_percentile if score else None,
        "bmc": score.bmc if score else None,
        "bmcPercentile": score.bmc_percentile if score else None,
        "fncV3": score.fnc_v3 if score else None,
        "fncV3Percentile": score.fnc_v3_percentile if score else None,
    }


@query.field("pipelineStatus")
def resolve_pipeline_status(
    _: Any, info: Info, date: str | None = None, tournament: str | None = "classic"
) -> Object | None:
    """Return when the data of a round was published and when scores were computed on a day, by default today."""
    context = context_of(info)
    try:
        day = datetime.fromisoformat(date).date() if date else context.now.date()
    except ValueError as error:
        raise InvalidInputError(f"{date!r} is not a date. Write dates as YYYY-MM-DD.") from error
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    end = start + timedelta(days=1)

    def first_of_day(column: InstrumentedAttribute[Any]) -> Any:
        return context.session.scalar(
            select(func.min(column)).where(Round.tournament == CLASSIC, column >= start, column < end)
        )

    opened, scored = first_of_day(Round.open_time), first_of_day(Round.scored_at)
    return {
        "tournament": tournament,
        "isScoringDay": scored is not None,
        "startedAt": opened,
        "dataReadyAt": opened,
        "scoredAt": scored,
        "resolvedAt": first_of_day(Round.resolved_at),
    }
