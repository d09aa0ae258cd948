"""What resolvers are made of: the type of an answered object and the way to the request's context."""

from typing import Any

from graphql import GraphQLResolveInfo

from predictd.http.context import Context

# A value is a plain one or a callable `(info, **arguments)` that is asked only when the client selects the field.
Object = dict[str, Any]
Info = GraphQLResolveInfo[Context]


def context_of(info: Info) -> Context:
    """The context of the request that is being answered."""
    return info.context
