"""Where the tools ask: it finds the token of a call and turns refusals into errors that a model can act on."""

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
    Field(description="API token as PUBLIC_ID$SECRET_KEY. Leave it out where the connection is authorised already."),
]
Tournament = Annotated[int, Field(description="8 is the classic tournament, and the only one.")]

_REMEDIES: dict[type[PredictdError], str] = {
    MissingScopeError: "Ask the user for a token that has this scope.",
    NotFoundError: (
        "Yours are listed by graphql_query with query '{ account { models { id name } } }' (models) and by "
        "upload_model with operation list (pickles and their triggers), list_docker_images or list_data_versions."
    ),
    PlatformError: "That is the server's own fault: wait some seconds and try again.",
}
# By what a message says, where that tells more than its kind; the first that fits counts.
_BY_WORDS = (
    (
        "Current round not open",
        "Rounds open by a calendar; upload_model works between them too, and its pickles run at the next.",
    ),
    ("Unknown filename", "upload_model get_upload_auth answers it."),
    (
        "Cannot query field",
        """What there is: graphql_query '{ __type(name: "Query") { fields { name args { name } type { name } } } }'.""",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Asks the backend on behalf of tools."""

    backend: Backend

    def ask(
        self, context: Context[Any, Any], api_token: str | None, query: str, variables: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The data of an answer.

        Raises:
            ToolError: the server refuses, or does not answer.
        """
        answer = self.execute(context, api_token, query, variables)
        if answer.get("errors"):
            raise ToolError(self.explain(answer["errors"]))
        return dict(answer.get("data") or {})

    def ask_for(
        self, context: Context[Any, Any], api_token: str | None, query: str, variables: dict[str, Any], field: str
    ) -> dict[str, Any]:
        """The object that an answer has in this field; ToolError where there is none, beside what `ask` raises."""
        answer = self.ask(context, api_token, query, variables).get(field)
        if not isinstance(answer, dict):
            refuse(f"There is no such {field} for this token. {_REMEDIES[NotFoundError]}")
        return answer

    def execute(
        self, context: Context[Any, Any], api_token: str | None, query: str, variables: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The whole answer.

        Raises:
            ToolError: the token is none, or the server does not answer.
        """
        try:
            call = Call(token=Token.parse(api_token) if api_token else None, request=context.request_context.request)
            return self.backend.execute(query, variables or {}, call)
        except PredictdError as error:
            raise ToolError(error.message) from error

    def explain(self, errors: list[dict[str, Any]]) -> str:
        """What the errors of an answer say, with what to do."""
        kind, told = read_errors(errors)
        if kind is NotAuthenticatedError:
            return f"{told} {self.backend.how_to_authorise}"
        remedy = next((remedy for words, remedy in _BY_WORDS if words in told), _REMEDIES.get(kind))
        return f"{told.rstrip('.')}. {remedy}" if remedy else told


def needed(value: str | None, parameter: str, operation: str, where: str) -> str:
    """The value of a parameter that an operation can't do without.

    Raises:
        ToolError: it is missing; says where it comes from.
    """
    if not value:
        refuse(f"{operation} needs {parameter}: {where}.")
    return value


def refuse(message: str) -> NoReturn:
    """Raise the error of a call that can't be made."""
    raise ToolError(message)
