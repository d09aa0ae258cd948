"""What answers the GraphQL of the tools."""

from dataclasses import dataclass
from typing import Any, Protocol

from predictd.client import Client, Token


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a tool.

    Attributes:
        token: what was given as the parameter `apiToken`.
        request: the HTTP request that carried the call, None over stdio. Nothing is remembered from one to the next.
    """

    token: Token | None
    request: Any


class Backend(Protocol):
    """Answers GraphQL for a call."""

    how_to_authorise: str
    """Where a token comes from, for who gave none or a wrong one."""

    def execute(self, query: str, variables: dict[str, Any], call: Call) -> dict[str, Any]:
        """The whole answer, `{"data": ..., "errors": [...]}`.

        Raises:
            PredictdError: there is no answer.
        """


class RemoteBackend:
    """A server somewhere, asked with the client's own token or with the call's."""

    how_to_authorise = (
        "Give the tool the parameter apiToken (PUBLIC_ID$SECRET_KEY), or start `predictd mcp` with PREDICTD_TOKEN set "
        "or after `predictd login`. Ask the user for a token; never guess one."
    )

    def __init__(self, client: Client) -> None:
        self._client = client

    def execute(self, query: str, variables: dict[str, Any], call: Call) -> dict[str, Any]:
        """The whole answer of the server."""
        return self._client.execute(query, variables, token=call.token)
