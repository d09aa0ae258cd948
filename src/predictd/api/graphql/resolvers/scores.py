"""Scores and leaderboards. Rounds are not scored yet, so every list of scores is empty."""

from typing import Any

from ariadne import MutationType, QueryType

from predictd.api.graphql.resolvers.objects import Info, Object

query = QueryType()
mutation = MutationType()


@query.field("submissionScores")
@query.field("v2RoundModelPerformances")
@query.field("userScores")
@query.field("v2Leaderboard")
@query.field("accountLeaderboard")
def resolve_no_scores(_: Any, info: Info, **arguments: Any) -> list[Object]:
    """No round has been scored."""
    return []
