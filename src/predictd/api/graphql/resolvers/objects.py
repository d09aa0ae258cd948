"""The type of returned objects, and access to the request context."""

from typing import Any

from graphql import GraphQLResolveInfo

from predictd.http.context import Context

# A value is either plain or a callable `(info, **arguments)`, which is called only if the client selects the field.
Object = dict[str, Any]
Info = GraphQLResolveInfo[Context]


def context_of(info: Info) -> Context:
    """Return the context of the request."""
    return info.context
