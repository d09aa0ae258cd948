"""Tools for credentials, models, rounds, data, scores, diagnostics and arbitrary GraphQL."""

import json
from typing import Annotated, Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from pydantic import Field

from predictd.domain.names import CLASSIC
from predictd.mcp import operations
from predictd.mcp.tool_context import ApiToken, ToolContext, Tournament, fail, require

READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=True)
ADDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)
CHANGES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=True)
_ROUNDS = 20

ModelName = Annotated[str | None, Field(description="Name of any account's model.")]
ModelId = Annotated[str | None, Field(description="Id of a model.")]


def add_tournament_tools(server: MCPServer[Any], tool_context: ToolContext) -> None:
    """Add the tools that execute one operation each."""

    @server.tool(annotations=READS, structured_output=True)
    def check_api_credentials(context: Context[Any, Any], apiToken: ApiToken = None) -> dict[str, Any]:
        """Check the API token: its account and its scopes.

        upload_submission is required to upload and to create models, read_submission_info to see pickles and logs,
        download_submission to download, read_user_info for the account."""
        return tool_context.query(context, apiToken, operations.CREDENTIALS)

    @server.tool(annotations=ADDS, structured_output=True)
    def create_model(
        context: Context[Any, Any],
        name: Annotated[str, Field(description="1 to 20 letters, digits, _ and -; unique in the tournament.")],
        tournament: Tournament = CLASSIC,
        apiToken: ApiToken = None,
    ) -> dict[str, Any]:
        """Create a model, a slot to upload pickles for, and return its id. Ask the user before creating one."""
        return tool_context.query(context, apiToken, operations.ADD_MODEL, {"name": name, "tournament": tournament})

    @server.tool(annotations=CHANGES, structured_output=True)
    def graphql_query(
        context: Context[Any, Any],
        query: Annotated[str, Field(description="A GraphQL document: a query or a mutation.")],
        variables: Annotated[dict[str, Any] | None, Field(description="Its variables.")] = None,
        apiToken: ApiToken = None,
    ) -> dict[str, Any]:
        """Execute any GraphQL and return its data, for what the other tools don't offer.

        Examples: '{ account { models { id name computePickleUpload { id filename } } } }';
        'query($m: ID) { submissions(modelId: $m) { id status selected round { number } } }';
        '{ __type(name: "Mutation") { fields { name args { name } } } }' to list the mutations."""
        response = tool_context.execute(context, apiToken, query, variables)
        if response.get("errors"):
            return _error_result(tool_context.explain(response["errors"]), response)  # type: ignore[return-value]
        return dict(response.get("data") or {})

    @server.tool(annotations=READS, structured_output=True)
    def get_tournaments(context: Context[Any, Any], apiToken: ApiToken = None) -> dict[str, Any]:
        """List the tournaments of the server."""
        return tool_context.query(context, apiToken, operations.TOURNAMENTS)

    @server.tool(annotations=READS, structured_output=True)
    def get_current_round(
        context: Context[Any, Any], tournament: Tournament = CLASSIC, apiToken: ApiToken = None
    ) -> dict[str, Any]:
        """Return the open round: its number and when it closes. Between rounds this is an error."""
        return tool_context.query(context, apiToken, operations.CURRENT_ROUND, {"tournament": tournament})

    @server.tool(annotations=READS, structured_output=True)
    def list_datasets(
        context: Context[Any, Any], tournament: Tournament = CLASSIC, apiToken: ApiToken = None
    ) -> dict[str, Any]:
        """List the data files, such as v5.3/train.parquet. graphql_query 'query($f: String!) { dataset(filename: $f) }'
        returns the URL of one, which requires no token."""
        return tool_context.query(context, apiToken, operations.DATASETS, {"tournament": tournament})

    @server.tool(annotations=READS, structured_output=True)
    def get_leaderboard(
        context: Context[Any, Any],
        tournament: Tournament = CLASSIC,
        limit: Annotated[int, Field(ge=1, le=500, description="Maximum number of accounts.")] = 50,
        offset: Annotated[int, Field(ge=0, description="Number of accounts to skip.")] = 0,
        apiToken: ApiToken = None,
    ) -> dict[str, Any]:
        """Return the leaderboard of accounts, best first."""
        return tool_context.query(
            context, apiToken, operations.LEADERBOARD, {"tournament": tournament, "limit": limit, "offset": offset}
        )


def add_model_tools(server: MCPServer[Any], tool_context: ToolContext) -> None:
    """Add the tools for one model, by its name or id."""

    @server.tool(annotations=READS, structured_output=True)
    def get_model_profile(
        context: Context[Any, Any], modelName: ModelName = None, modelId: ModelId = None, apiToken: ApiToken = None
    ) -> dict[str, Any]:
        """Return the public profile of a model: account, latest scores, ranks. An id must be of your own model."""
        if not modelName:
            own_id = require(modelId, "modelName or modelId", "get_model_profile", "the name is its public name")
            modelName = str(
                tool_context.query_object(context, apiToken, operations.MODEL_NAME, {"modelId": own_id}, "model")[
                    "name"
                ]
            )
        return tool_context.query(context, apiToken, operations.PROFILE, {"modelName": modelName})

    @server.tool(annotations=READS, structured_output=True)
    def get_model_performance(
        context: Context[Any, Any],
        modelName: ModelName = None,
        modelId: ModelId = None,
        lastNRounds: Annotated[int, Field(ge=1, description="Number of rounds.")] = _ROUNDS,
        apiToken: ApiToken = None,
    ) -> dict[str, Any]:
        """Return the scores of a model by round, newest first."""
        if not modelId:
            name = require(modelName, "modelName or modelId", "get_model_performance", "pass either")
            variables = {"modelName": name}
            modelId = str(
                tool_context.query_object(context, apiToken, operations.MODEL_ID, variables, "v3UserProfile")["id"]
            )
        return tool_context.query(
            context, apiToken, operations.PERFORMANCE, {"modelId": modelId, "lastNRounds": lastNRounds}
        )

    @server.tool(annotations=CHANGES, structured_output=True)
    def run_diagnostics(
        context: Context[Any, Any],
        operation: Annotated[
            Literal["get_upload_auth", "create", "list", "delete"],
            Field(description="What to do, see the description."),
        ],
        modelId: ModelId = None,
        filename: Annotated[
            str | None,
            Field(description="get_upload_auth: a name ending in .csv or .parquet. create: the name that it returned."),
        ] = None,
        diagnosticsId: Annotated[str | None, Field(description="delete: an id from list.")] = None,
        apiToken: ApiToken = None,
    ) -> dict[str, Any]:
        """Diagnostics: metrics of predictions for the validation data.

        get_upload_auth returns a filename and a url; PUT a file with the columns id and prediction there
        (curl -f -T predictions.csv 'URL'), then create(filename); list returns the metrics, including those of pickles,
        which are computed automatically; delete removes one."""
        upload = {"tournament": CLASSIC, "modelId": modelId or None}
        match operation:
            case "get_upload_auth":
                name = filename or "predictions.csv"
                return tool_context.query(context, apiToken, operations.DIAGNOSTICS_AUTH, {"filename": name, **upload})
            case "create":
                name = require(filename, "filename", operation, "get_upload_auth returns it")
                return tool_context.query(
                    context, apiToken, operations.CREATE_DIAGNOSTICS, {"filename": name, **upload}
                )
            case "list":
                return tool_context.query(context, apiToken, operations.DIAGNOSTICS, {"modelId": modelId or None})
            case "delete":
                if not diagnosticsId:
                    fail("delete needs diagnosticsId: list has it.")
                return tool_context.query(context, apiToken, operations.DELETE_DIAGNOSTICS, {"ids": [diagnosticsId]})


def _error_result(message: str, response: dict[str, Any]) -> CallToolResult:
    """Return an error result that includes partial data."""
    data = response.get("data")
    text = f"{message}\nPartial data: {json.dumps(data)}" if data and any(data.values()) else message
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=response, is_error=True)
