"""Rounds: the list of them, and one with its times and scores."""

import sqlalchemy as sa
from sqlalchemy.orm import joinedload
from starlette.responses import Response
from starlette.routing import Route

from predictd.api.app import Services
from predictd.db.models import Model, Submission
from predictd.db.rounds import find_round, list_rounds, status_of
from predictd.db.score_tables import Score
from predictd.domain.errors import InvalidInputError, NotFoundError
from predictd.domain.names import CLASSIC
from predictd.rounds.calendar import Window, parse_calendar
from predictd.web.leaderboards import LABELS
from predictd.web.visits import Visit, page_route

MOST_ROUNDS = 100
MOST_SCORES = 200
COMING = 3


def round_routes(services: Services) -> list[Route]:
    """The routes of these pages."""
    return [
        page_route(services, "/rounds", show_rounds),
        page_route(services, "/rounds/{number}", show_round),
    ]


def show_rounds(visit: Visit) -> Response:
    """The newest rounds."""
    rounds = list_rounds(visit.session, CLASSIC, MOST_ROUNDS)
    rows = [(one, status_of(one, visit.now)) for one in rounds]
    calendar = visit.services.settings.calendar
    return visit.page("rounds.html", rows=rows, calendar=calendar, coming=coming_windows(visit, COMING))


def coming_windows(visit: Visit, count: int) -> list[Window]:
    """When the calendar opens the next rounds; empty where they are opened by hand."""
    try:
        return parse_calendar(visit.services.settings.calendar).windows_after(visit.now, count)
    except InvalidInputError:
        return []


def show_round(visit: Visit) -> Response:
    """One round: its times, how many submitted, and the scores that there are."""
    round_ = find_round(visit.session, CLASSIC, visit.number("number"))
    if round_ is None:
        raise NotFoundError(f"Round {visit.part('number')} not found.")
    count = visit.session.scalar(
        sa.select(sa.func.count()).where(Submission.round_id == round_.id, Submission.selected)
    )
    scores = visit.session.execute(
        sa.select(Score, Model)
        .join(Model, Model.id == Score.model_id)
        .where(Score.round_id == round_.id, Score.is_latest)
        .options(joinedload(Model.account))
        .order_by(Score.corr.desc().nulls_last(), Model.name_key)
        .limit(MOST_SCORES)
    ).all()
    own = []
    if visit.visitor is not None:
        own = [
            (row[0], row[1])
            for row in visit.session.execute(
                sa.select(Submission, Model)
                .join(Model, Model.id == Submission.model_id)
                .where(Submission.round_id == round_.id, Submission.account_id == visit.visitor.id)
                .order_by(Model.name_key, Submission.inserted_at.desc())
            )
        ]
    return visit.page(
        "round.html",
        round=round_,
        status=status_of(round_, visit.now),
        count=count or 0,
        scores=[(row[0], row[1]) for row in scores],
        own=own,
        labels=LABELS,
    )
