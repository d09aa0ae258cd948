"""Rounds: the list, and the page of a round with its times and scores."""

import sqlalchemy as sa
from sqlalchemy.orm import joinedload
from starlette.responses import Response
from starlette.routing import Route

from predictd.db.models import Model, Submission
from predictd.db.rounds import find_round, list_rounds, status_of
from predictd.db.score_tables import Score
from predictd.domain.errors import InvalidInputError, NotFoundError
from predictd.domain.names import CLASSIC
from predictd.http.services import Services
from predictd.rounds.calendar import Window, parse_calendar
from predictd.web.dispatch import page_route
from predictd.web.leaderboards import LABELS
from predictd.web.request import PageRequest

MAX_ROUNDS = 100
MAX_SCORES = 200
UPCOMING = 3


def round_routes(services: Services) -> list[Route]:
    """Return the routes of these pages."""
    return [
        page_route(services, "/rounds", show_rounds),
        page_route(services, "/rounds/{number}", show_round),
    ]


def show_rounds(request: PageRequest) -> Response:
    """Show the recent and the upcoming rounds."""
    rounds = list_rounds(request.session, CLASSIC, MAX_ROUNDS)
    rows = [(round_, status_of(round_, request.now)) for round_ in rounds]
    calendar = request.services.settings.calendar
    return request.render("rounds.html", rows=rows, calendar=calendar, upcoming=upcoming_windows(request, UPCOMING))


def upcoming_windows(request: PageRequest, count: int) -> list[Window]:
    """Return the windows of the next rounds of the calendar; empty if rounds are opened manually."""
    try:
        return parse_calendar(request.services.settings.calendar).windows_after(request.now, count)
    except InvalidInputError:
        return []


def show_round(request: PageRequest) -> Response:
    """Show a round: its times, submissions, and scores."""
    round_ = find_round(request.session, CLASSIC, request.int_path_param("number"))
    if round_ is None:
        raise NotFoundError(f"Round {request.path_param('number')} not found.")
    count = request.session.scalar(
        sa.select(sa.func.count()).where(Submission.round_id == round_.id, Submission.selected)
    )
    scores = request.session.execute(
        sa.select(Score, Model)
        .join(Model, Model.id == Score.model_id)
        .where(Score.round_id == round_.id, Score.is_latest)
        .options(joinedload(Model.account))
        .order_by(Score.corr.desc().nulls_last(), Model.name_key)
        .limit(MAX_SCORES)
    ).all()
    submissions = []
    if request.current_account is not None:
        submissions = [
            (row[0], row[1])
            for row in request.session.execute(
                sa.select(Submission, Model)
                .join(Model, Model.id == Submission.model_id)
                .where(Submission.round_id == round_.id, Submission.account_id == request.current_account.id)
                .order_by(Model.name_key, Submission.inserted_at.desc())
            )
        ]
    return request.render(
        "round.html",
        round=round_,
        status=status_of(round_, request.now),
        count=count or 0,
        scores=[(row[0], row[1]) for row in scores],
        submissions=submissions,
        labels=LABELS,
    )
