"""What everybody may see: leaderboards, and the pages of models and accounts."""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from starlette.responses import Response
from starlette.routing import Route

from predictd.api.app import Services
from predictd.db.accounts import find_account
from predictd.db.model_queries import find_by_name, list_models
from predictd.db.score_tables import Reputation
from predictd.db.scores import (
    Ordering,
    account_leaderboard,
    latest_day,
    latest_scores_of_model,
    leaderboard,
    reputations_of,
)
from predictd.domain.errors import NotFoundError
from predictd.domain.names import CLASSIC
from predictd.domain.scores import METRICS
from predictd.web.visits import Visit, page_route

PAGE = 100
LAST_ROUNDS = 20
LABELS = {"corr": "CORR", "mmc": "MMC", "bmc": "BMC", "fnc": "FNC", "fnc_v3": "FNCv3"}


def board_routes(services: Services) -> list[Route]:
    """The routes of these pages."""
    return [
        page_route(services, "/leaderboard", show_models),
        page_route(services, "/leaderboard/accounts", show_accounts),
        page_route(services, "/m/{name}", show_model),
        page_route(services, "/u/{name}", show_account),
    ]


def show_models(visit: Visit) -> Response:
    """The models by their reputation."""
    return _show_board(visit, "leaderboard.html", leaderboard)


def show_accounts(visit: Visit) -> Response:
    """The accounts by the mean reputation of their models."""
    return _show_board(visit, "leaderboard_accounts.html", account_leaderboard)


def _show_board(visit: Visit, template: str, ranked: Callable[..., Sequence[Any]]) -> Response:
    by, at = visit.asked("by"), visit.offset
    by = by if by in METRICS else "corr"
    order = Ordering(metric=by, descending=True)
    name = visit.asked("q")
    found = ranked(visit.session, CLASSIC, order, name=name or None, limit=PAGE + 1, offset=at)
    return visit.page(
        template,
        rows=found[:PAGE],
        day=latest_day(visit.session, CLASSIC),
        by=by,
        labels=LABELS,
        wanted=name,
        at=at,
        before=max(at - PAGE, 0) if at else None,
        after=at + PAGE if len(found) > PAGE else None,
    )


def show_model(visit: Visit) -> Response:
    """A model's scores, round by round."""
    model = find_by_name(visit.session, visit.part("name"), CLASSIC)
    if model is None:
        raise NotFoundError(f"Model {visit.part('name')[:64]!r} not found.")
    scores = latest_scores_of_model(visit.session, model.id, LAST_ROUNDS)
    reputation = next(iter(reputations_of(visit.session, model.id, limit=1)), None)
    is_own = visit.visitor is not None and visit.visitor.id == model.account_id
    return visit.page("profile.html", model=model, scores=scores, reputation=reputation, labels=LABELS, is_own=is_own)


def show_account(visit: Visit) -> Response:
    """An account and its models in use."""
    account = find_account(visit.session, visit.part("name"))
    if account is None:
        raise NotFoundError(f"Account {visit.part('name')[:64]!r} not found.")
    models = [model for model in list_models(visit.session, account) if model.archived_at is None]
    day = latest_day(visit.session, CLASSIC)
    found = visit.session.scalars(
        sa.select(Reputation).where(Reputation.day == day, Reputation.model_id.in_([model.id for model in models]))
    )
    reputations = {one.model_id: one for one in found}
    rows = [(model, reputations.get(model.id)) for model in models]
    return visit.page("account_profile.html", owner=account, rows=rows, labels=LABELS)
