"""Leaderboards of models and accounts."""

from typing import Any

from ariadne import MutationType, QueryType

from predictd.api.graphql.compat import squash
from predictd.api.graphql.resolvers.objects import Info, Object, context_of
from predictd.db.scores import (
    AccountLeaderboardEntry,
    LeaderboardEntry,
    LeaderboardOrder,
    account_leaderboard,
    leaderboard,
)
from predictd.domain.errors import InvalidInputError
from predictd.domain.names import CLASSIC

query = QueryType()
mutation = MutationType()

MAX_ENTRIES = 10_000
# The fields to order by, as `squash` spells them. Clients also order by payouts, which are null here.
_NAME_FIELDS = {"username", "displayname"}
_MODEL_METRICS = {
    "rank": "corr",
    "corr20rep": "corr",
    "corr20v2rep": "corr",
    "mmcrep": "mmc",
    "bmcrep": "bmc",
    "fncrep": "fnc",
    "fncv3rep": "fnc_v3",
}
_ACCOUNT_METRICS = {"rank": "corr", "corr": "corr", "v2corr20": "corr", "mmc": "mmc", "bmc": "bmc", "fncv3": "fnc_v3"}
_NULL_FIELDS = ("nmr", "return", "stake", "tc", "corr60", "corj60", "cort20", "corrv4", "fncv4", "icv2", "ric", "mmc60")


@query.field("v2Leaderboard")
def resolve_leaderboard(
    _: Any,
    info: Info,
    limit: int | None = None,
    offset: int | None = None,
    orderBy: str | None = None,
    direction: str | None = None,
    filterBy: str | None = None,
) -> list[Object]:
    """Return the models by reputation; `filterBy` is a part of the name."""
    rows = leaderboard(
        context_of(info).session,
        CLASSIC,
        _ordering(orderBy, direction, _MODEL_METRICS),
        name=filterBy,
        limit=_limit(limit),
        offset=max(offset or 0, 0),
    )
    return [_entry(row) for row in rows]


@query.field("accountLeaderboard")
def resolve_account_leaderboard(
    _: Any,
    info: Info,
    tournament: int | None = CLASSIC,
    limit: int | None = 500,
    offset: int | None = None,
    orderBy: str | None = None,
    direction: str | None = None,
    filterBy: str | None = None,
) -> list[Object]:
    """Return the accounts by the mean reputation of their models; `filterBy` is a part of the name."""
    rows = account_leaderboard(
        context_of(info).session,
        CLASSIC if tournament is None else tournament,
        _ordering(orderBy, direction, _ACCOUNT_METRICS),
        name=filterBy,
        limit=_limit(limit),
        offset=max(offset or 0, 0),
    )
    return [_account_entry(row) for row in rows]


def _ordering(order_by: str | None, direction: str | None, metrics: dict[str, str]) -> LeaderboardOrder:
    field = squash(order_by or "rank")
    if direction is not None and direction.lower() not in ("asc", "desc"):
        raise InvalidInputError(f"The direction {direction[:20]!r} is invalid. Use 'asc' or 'desc'.")
    if field in _NAME_FIELDS:
        return LeaderboardOrder(metric=None, descending=(direction or "asc").lower() == "desc")
    metric = metrics.get(field)
    if metric is None and not field.startswith(_NULL_FIELDS):
        raise InvalidInputError(
            f"The leaderboard can't be ordered by {order_by!r:.60}. Use one of: username, {', '.join(metrics)}."
        )
    # The best rank is the lowest, so ranks ascend where scores descend.
    is_rank = field == "rank"
    descending = (direction or ("asc" if is_rank else "desc")).lower() == "desc"
    return LeaderboardOrder(metric=metric or "corr", descending=descending is not is_rank)


def _limit(limit: int | None) -> int:
    return MAX_ENTRIES if limit is None else min(max(limit, 0), MAX_ENTRIES)


def _entry(standing: LeaderboardEntry) -> Object:
    reputation, model = standing.reputation, standing.model
    change = None
    if standing.previous_rank is not None and reputation.corr_rank is not None:
        change = standing.previous_rank - reputation.corr_rank
    return {
        "id": model.id,
        "username": model.name,
        "rank": reputation.corr_rank,
        "rankChange1d": change,
        "isActive": model.archived_at is None,
        "team": False,
        "corr20Rep": reputation.corr,
        "corr20V2Rep": reputation.corr,
        "mmcRep": reputation.mmc,
        "bmcRep": reputation.bmc,
        "fncRep": reputation.fnc,
        "fncV3Rep": reputation.fnc_v3,
    }


def _account_entry(standing: AccountLeaderboardEntry) -> Object:
    account, means = standing.account, standing.means
    return {
        "id": account.id,
        "username": account.username,
        "displayName": account.display_name or account.username,
        "rank": standing.rank,
        "corr": means["corr"],
        "v2Corr20": means["corr"],
        "mmc": means["mmc"],
        "bmc": means["bmc"],
        "fncV3": means["fnc_v3"],
    }
