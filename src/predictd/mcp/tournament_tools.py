"""The tools that read and write beside pickles: credentials, models, rounds, data, scores, diagnostics, any GraphQL."""

import json
from typing import Annotated, Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from pydantic import Field

from predictd.domain.names import CLASSIC
from predictd.mcp import documents
from predictd.mcp.tool_context import ApiToken, Desk, Tournament, needed, refuse

READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=True)
ADDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True)
CHANGES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=True)
_ROUNDS = 20

ModelName = Annotated[str | None, Field(description="Name of a model, anybody's.")]
ModelId = Annotated[str | None, Field(description="Id of a model.")]


def add_tournament_tools(server: MCPServer[Any], desk: Desk) -> None:
    """Add the tools that ask for one document each."""

    @server.tool(annotations=READS, structured_output=True)
    def check_api_credentials(context: Context[Any, Any], apiToken: ApiToken = None) -> dict[str, Any]:
        """Check the API token: whose it is and its scopes.

        upload_submission is needed to upload and to make models, read_submission_info to see pickles and logs,
        download_submission to download, read_user_info for the account."""
        return desk.ask(context, apiToken, documents.CREDENTIALS)

    @server.tool(annotations=ADDS, structured_output=True)
    def create_model(
        context: Context[Any, Any],
        name: Annotated[str, Field(description="1 to 20 letters, digits, _ and -; unique in the tournament.")],
        tournament: Tournament = CLASSIC,
        apiToken: ApiToken = None,
    ) -> dict[str, Any]:
        """Make a model: a slot that a pickle can be uploaded for. Answers its id. Ask the user before making one."""
        return desk.ask(context, apiToken, documents.ADD_MODEL, {"name": name, "tournament": tournament})

    @server.tool(annotations=CHANGES, structured_output=True)
    def graphql_query(
        context: Context[Any, Any],
        query: Annotated[str, Field(description="A GraphQL document: a query or a mutation.")],
        variables: Annotated[dict[str, Any] | None, Field(description="Its variables.")] = None,
        apiToken: ApiToken = None,
    ) -> dict[str, Any]:
        """Send any GraphQL and get its data, for what the other tools don't have.

        Examples: '{ account { models { id name computePickleUpload { id filename } } } }';
        'query($m: ID) { submissions(modelId: $m) { id status selected round { number } } }';
        '{ __type(name: "Mutation") { fields { name args { name } } } }' to see what there is."""
        answer = desk.execute(context, apiToken, query, variables)
        if answer.get("errors"):
            return _refused(desk.explain(answer["errors"]), answer)  # type: ignore[return-value]
        return dict(answer.get("data") or {})

    @server.tool(annotations=READS, structured_output=True)
    def get_tournaments(context: Context[Any, Any], apiToken: ApiToken = None) -> dict[str, Any]:
        """The tournaments of the server."""
        return desk.ask(context, apiToken, documents.TOURNAMENTS)

    @server.tool(annotations=READS, structured_output=True)
    def get_current_round(
        context: Context[Any, Any], tournament: Tournament = CLASSIC, apiToken: ApiToken = None
    ) -> dict[str, Any]:
        """The open round: its number and when it closes. Between rounds that is an error."""
        return desk.ask(context, apiToken, documents.CURRENT_ROUND, {"tournament": tournament})

    @server.tool(annotations=READS, structured_output=True)
    def list_datasets(
        context: Context[Any, Any], tournament: Tournament = CLASSIC, apiToken: ApiToken = None
    ) -> dict[str, Any]:
        """The data files, such as v5.3/train.parquet. graphql_query with 'query($f: String!) { dataset(filename: $f) }'
        answers the URL of one, which needs no token."""
        return desk.ask(context, apiToken, documents.DATASETS, {"tournament": tournament})

    @server.tool(annotations=READS, structured_output=True)
    def get_leaderboard(
        context: Context[Any, Any],
        tournament: Tournament = CLASSIC,
        limit: Annotated[int, Field(ge=1, le=500, description="So many accounts.")] = 50,
        offset: Annotated[int, Field(ge=0, description="From this place on.")] = 0,
        apiToken: ApiToken = None,
    ) -> dict[str, Any]:
        """The leaderboard of accounts, best first."""
        return desk.ask(
            context, apiToken, documents.LEADERBOARD, {"tournament": tournament, "limit": limit, "offset": offset}
        )


def add_model_tools(server: MCPServer[Any], desk: Desk) -> None:
    """Add the tools about one model, named by its name or id."""

    @server.tool(annotations=READS, structured_output=True)
    def get_model_profile(
        context: Context[Any, Any], modelName: ModelName = None, modelId: ModelId = None, apiToken: ApiToken = None
    ) -> dict[str, Any]:
        """What all may see of a model: whose it is, its latest scores and ranks. An id must be your own model's."""
        if not modelName:
            found = needed(modelId, "modelName or modelId", "get_model_profile", "the name is the one that people see")
            modelName = str(desk.ask_for(context, apiToken, documents.MODEL_NAME, {"modelId": found}, "model")["name"])
        return desk.ask(context, apiToken, documents.PROFILE, {"modelName": modelName})

    @server.tool(annotations=READS, structured_output=True)
    def get_model_performance(
        context: Context[Any, Any],
        modelName: ModelName = None,
        modelId: ModelId = None,
        lastNRounds: Annotated[int, Field(ge=1, description="Of so many rounds.")] = _ROUNDS,
        apiToken: ApiToken = None,
    ) -> dict[str, Any]:
        """A model's scores round by round, newest first."""
        if not modelId:
            name = needed(modelName, "modelName or modelId", "get_model_performance", "either will do")
            wanted = {"modelName": name}
            modelId = str(desk.ask_for(context, apiToken, documents.MODEL_ID, wanted, "v3UserProfile")["id"])
        return desk.ask(context, apiToken, documents.PERFORMANCE, {"modelId": modelId, "lastNRounds": lastNRounds})

    @server.tool(annotations=CHANGES, structured_output=True)
    def run_diagnostics(
        context: Context[Any, Any],
        operation: Annotated[
            Literal["get_upload_auth", "create", "list", "delete"], Field(description="What to do, as said above.")
        ],
        modelId: ModelId = None,
        filename: Annotated[
            str | None,
            Field(description="get_upload_auth: a name ending in .csv or .parquet. create: the name that it answered."),
        ] = None,
        diagnosticsId: Annotated[str | None, Field(description="delete: an id of list.")] = None,
        apiToken: ApiToken = None,
    ) -> dict[str, Any]:
        """Diagnostics: the figures of predictions for the validation data.

        get_upload_auth answers a filename and a url; PUT a file with the columns id and prediction there
        (curl -f -T predictions.csv 'URL'), then create(filename); list shows the figures, also those of pickles, which
        get theirs by themselves; delete removes one."""
        upload = {"tournament": CLASSIC, "modelId": modelId or None}
        match operation:
            case "get_upload_auth":
                name = filename or "predictions.csv"
                return desk.ask(context, apiToken, documents.DIAGNOSTICS_AUTH, {"filename": name, **upload})
            case "create":
                name = needed(filename, "filename", operation, "the one that get_upload_auth answered")
                return desk.ask(context, apiToken, documents.CREATE_DIAGNOSTICS, {"filename": name, **upload})
            case "list":
                return desk.ask(context, apiToken, documents.DIAGNOSTICS, {"modelId": modelId or None})
            case "delete":
                if not diagnosticsId:
                    refuse("delete needs diagnosticsId: list has it.")
                return desk.ask(context, apiToken, documents.DELETE_DIAGNOSTICS, {"ids": [diagnosticsId]})


def _refused(message: str, answer: dict[str, Any]) -> CallToolResult:
    """An error that keeps what was answered beside it."""
    data = answer.get("data")
    text = f"{message}\nAnswered beside that: {json.dumps(data)}" if data and any(data.values()) else message
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=answer, is_error=True)
