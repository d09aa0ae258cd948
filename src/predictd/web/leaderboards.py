"""Public pages: the leaderboards of models and accounts, and the profile of a model or an account."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from starlette.responses import Response
from starlette.routing import Route

from predictd.db.accounts import find_account
from predictd.db.model_queries import find_model, list_models
from predictd.db.models import Account, Model
from predictd.db.score_tables import Reputation
from predictd.db.scores import (
    LeaderboardOrder,
    account_leaderboard,
    latest_day,
    leaderboard,
    list_latest_scores,
    list_reputations,
)
from predictd.domain.errors import NotFoundError
from predictd.domain.names import CLASSIC
from predictd.domain.score_configs import METRICS
from predictd.http.services import Services
from predictd.web.dispatch import page_route
from predictd.web.request import PageRequest

MAX_ROWS = 100
MAX_ROUNDS = 20
LABELS = {"corr": "CORR", "mmc": "MMC", "bmc": "BMC", "fnc": "FNC", "fnc_v3": "FNCv3"}


@dataclass(frozen=True, kw_only=True)
class LeaderboardRow:
    """A row of a leaderboard: of an account, or of a model with its number of rounds."""

    rank: int | None
    scores: Mapping[str, float | None]
    account: Account
    model: Model | None = None
    rounds: int | None = None


def leaderboard_routes(services: Services) -> list[Route]:
    """Return the routes of these pages."""
    return [
        page_route(services, "/leaderboard", show_model_leaderboard),
        page_route(services, "/leaderboard/accounts", show_account_leaderboard),
        page_route(services, "/m/{name}", show_model),
        page_route(services, "/u/{name}", show_account),
    ]


def show_model_leaderboard(request: PageRequest) -> Response:
    """Show the models by reputation."""
    rows = leaderboard(
        request.session, CLASSIC, _ordering(request), name=_search(request), limit=MAX_ROWS + 1, offset=request.offset
    )
    return _show_leaderboard(
        request,
        [
            LeaderboardRow(
                rank=getattr(row.reputation, f"{_sort(request)}_rank"),
                scores={metric: getattr(row.reputation, metric) for metric in LABELS},
                account=row.model.account,
                model=row.model,
                rounds=row.reputation.rounds,
            )
            for row in rows
        ],
        is_of_models=True,
    )


def show_account_leaderboard(request: PageRequest) -> Response:
    """Show the accounts by the mean reputation of their models."""
    rows = account_leaderboard(
        request.session, CLASSIC, _ordering(request), name=_search(request), limit=MAX_ROWS + 1, offset=request.offset
    )
    return _show_leaderboard(
        request,
        [LeaderboardRow(rank=row.rank, scores=row.means, account=row.account) for row in rows],
        is_of_models=False,
    )


def _show_leaderboard(request: PageRequest, rows: Sequence[LeaderboardRow], *, is_of_models: bool) -> Response:
    offset = request.offset
    return request.render(
        "leaderboard.html",
        rows=rows[:MAX_ROWS],
        is_of_models=is_of_models,
        day=latest_day(request.session, CLASSIC),
        sort=_sort(request),
        labels=LABELS,
        search=_search(request) or "",
        previous_offset=max(offset - MAX_ROWS, 0) if offset else None,
        next_offset=offset + MAX_ROWS if len(rows) > MAX_ROWS else None,
    )


def _sort(request: PageRequest) -> str:
    """Return the metric to sort by."""
    metric = request.query_param("sort")
    return metric if metric in METRICS else "corr"


def _ordering(request: PageRequest) -> LeaderboardOrder:
    return LeaderboardOrder(metric=_sort(request), descending=True)


def _search(request: PageRequest) -> str | None:
    return request.query_param("q") or None


def show_model(request: PageRequest) -> Response:
    """Show the scores of a model, round by round."""
    name = request.path_param("name")
    model = find_model(request.session, name, CLASSIC)
    if model is None:
        raise NotFoundError(f"Model {name[:64]!r} not found.")
    account = request.current_account
    return request.render(
        "profile.html",
        model=model,
        scores=list_latest_scores(request.session, model.id, MAX_ROUNDS),
        reputation=next(iter(list_reputations(request.session, model.id, limit=1)), None),
        labels=LABELS,
        is_own=account is not None and account.id == model.account_id,
    )


def show_account(request: PageRequest) -> Response:
    """Show an account and its active models."""
    name = request.path_param("name")
    account = find_account(request.session, name)
    if account is None:
        raise NotFoundError(f"Account {name[:64]!r} not found.")
    models = [model for model in list_models(request.session, account) if model.archived_at is None]
    day = latest_day(request.session, CLASSIC)
    reputations = request.session.scalars(
        sa.select(Reputation).where(Reputation.day == day, Reputation.model_id.in_([model.id for model in models]))
    )
    by_model = {reputation.model_id: reputation for reputation in reputations}
    rows = [(model, by_model.get(model.id)) for model in models]
    return request.render("account_profile.html", owner=account, rows=rows, labels=LABELS)
