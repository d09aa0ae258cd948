"""Execute the GraphQL of the tools with the token of the call, and convert errors to messages for agents."""

from dataclasses import dataclass
from typing import Annotated, Any, NoReturn

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from predictd.client import Token, read_errors
from predictd.domain.errors import MissingScopeError, NotAuthenticatedError, NotFoundError, PlatformError, PredictdError
from predictd.mcp.backend import Backend, Call

ApiToken = Annotated[
    str | None,
    Field(description="API token as PUBLIC_ID$SECRET_KEY. Omit it if the connection is already authorized."),
]
Tournament = Annotated[int, Field(description="8 is the classic tournament, the only one.")]

_REMEDIES: dict[type[PredictdError], str] = {
    MissingScopeError: "Ask the user for a token that has this scope.",
    NotFoundError: (
        "Yours are listed by graphql_query with query '{ account { models { id name } } }' (models) and by "
        "upload_model with operation list (pickles and their triggers), list_docker_images or list_data_versions."
    ),
    PlatformError: "The server failed: wait some seconds and try again.",
}
# Remedies by the text of a message, which is more specific than its type; the first match is used.
_REMEDIES_BY_TEXT = (
    (
        "Current round not open",
        "Rounds open by a calendar; upload_model works between them too, and its pickles run at the next.",
    ),
    ("Unknown filename", "upload_model get_upload_auth returns it."),
    (
        "Cannot query field",
        """All fields: graphql_query '{ __type(name: "Query") { fields { name args { name } type { name } } } }'.""",
    ),
)


@dataclass(frozen=True, kw_only=True)
class ToolContext:
    """Executes GraphQL on the backend for the tools."""

    backend: Backend

    def query(
        self, context: Context[Any, Any], api_token: str | None, query: str, variables: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Execute a query and return its data.

        Raises:
            ToolError: The server returns errors, or does not respond.
        """
        response = self.execute(context, api_token, query, variables)
        if response.get("errors"):
            raise ToolError(self.explain(response["errors"]))
        return dict(response.get("data") or {})

    def query_object(
        self, context: Context[Any, Any], api_token: str | None, query: str, variables: dict[str, Any], field: str
    ) -> dict[str, Any]:
        """Execute a query and return the object in this field. Raises ToolError if it is null, and like `query`."""
        response = self.query(context, api_token, query, variables).get(field)
        if not isinstance(response, dict):
            fail(f"The {field} does not exist for this token. {_REMEDIES[NotFoundError]}")
        return response

    def execute(
        self, context: Context[Any, Any], api_token: str | None, query: str, variables: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Execute a query and return the whole response.

        Raises:
            ToolError: The token is invalid, or the server does not respond.
        """
        try:
            call = Call(token=Token.parse(api_token) if api_token else None, request=context.request_context.request)
            return self.backend.execute(query, variables or {}, call)
        except PredictdError as error:
            raise ToolError(error.message) from error

    def explain(self, errors: list[dict[str, Any]]) -> str:
        """Return the message of the errors of a response with a remedy."""
        kind, message = read_errors(errors)
        if kind is NotAuthenticatedError:
            return f"{message} {self.backend.how_to_authorize}"
        remedy = next((remedy for text, remedy in _REMEDIES_BY_TEXT if text in message), _REMEDIES.get(kind))
        return f"{message.rstrip('.')}. {remedy}" if remedy else message


def require(value: str | None, parameter: str, operation: str, where: str) -> str:
    """Return the value of a required parameter.

    Raises:
        ToolError: It is missing; the message explains where to get it.
    """
    if not value:
        fail(f"{operation} needs {parameter}: {where}.")
    return value


def fail(message: str) -> NoReturn:
    """Raise a ToolError."""
    raise ToolError(message)
