"""Backends that execute the GraphQL operations of the tools."""

from dataclasses import dataclass
from typing import Any, Protocol

from predictd.client import Client, Token


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call of a tool.

    Attributes:
        token: the parameter `apiToken`.
        request: the HTTP request of the call, None over stdio. Calls share no state.
    """

    token: Token | None
    request: Any


class Backend(Protocol):
    """Executes GraphQL for a call."""

    how_to_authorize: str
    """How to pass a token, shown if it is missing or invalid."""

    def execute(self, query: str, variables: dict[str, Any], call: Call) -> dict[str, Any]:
        """Execute the query and return the response, `{"data": ..., "errors": [...]}`.

        Raises:
            PredictdError: There is no response.
        """


class RemoteBackend:
    """A remote server, with the token of the call or of the client."""

    how_to_authorize = (
        "Pass the parameter apiToken (PUBLIC_ID$SECRET_KEY), or start `predictd mcp` with PREDICTD_TOKEN set "
        "or after `predictd login`. Ask the user for a token; never guess one."
    )

    def __init__(self, client: Client) -> None:
        self._client = client

    def execute(self, query: str, variables: dict[str, Any], call: Call) -> dict[str, Any]:
        """Execute the query on the server and return the response."""
        return self._client.execute(query, variables, token=call.token)
