"""The tool upload_model: upload a pickle and follow its runs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from predictd.domain.errors import PredictdError
from predictd.domain.names import CLASSIC
from predictd.mcp import operations
from predictd.mcp.local_files import LocalFiles
from predictd.mcp.tool_context import ApiToken, ToolContext, fail, require

Operation = Literal[
    "get_upload_auth",
    "put_file",
    "create",
    "list",
    "assign",
    "trigger",
    "get_logs",
    "list_data_versions",
    "list_docker_images",
    "cancel",
]

DESCRIPTION = """Upload a pickled model and follow it. A complete upload has these steps:
1. list_docker_images: choose the one with the Python version of the pickle; its id is dockerImageId.
2. get_upload_auth(modelId, filename): returns a unique filename and a presigned url, valid for 10 minutes.
3. {put}
4. create(filename of step 2, modelId, dockerImageId, dataVersionId): registers it and starts its validation.
   Once validated, it takes the model's slot and submits to the open round. Ask the user before this step: it changes
   what the model submits.
5. list(pickleId or modelId), every few seconds, until validationStatus is validated or invalid and the trigger's status
   is submission_succeeded, model_failed or error. Its last status has a description with the reason and the remedy.
   'No currently open rounds!' on a validated pickle is not a failure: it runs when the next round opens.
6. get_logs(triggerId): the output of the model, also while it runs. With pickleId alone: the output of its diagnostics.
Also: assign(modelId, pickleId) assigns a validated pickle to a model (pickleId "" unassigns it);
trigger(pickleId or modelId, triggerValidation) runs it now, for the open round or for validation;
cancel(triggerId) cancels a pending or running run;
list(unassigned=true) lists unassigned pickles; list_data_versions."""

PUT_HERE = "put_file(localPath, presignedUrl): uploads a .pkl file of the machine that this MCP server runs on."
PUT_YOURSELF = (
    "PUT the file's bytes to that url yourself, with no token and no other headers: curl -f -T model.pkl 'URL'. "
    "(put_file exists only where this MCP server runs on the user's machine: predictd mcp.)"
)


def add_upload_tool(server: MCPServer[Any], tool_context: ToolContext, files: LocalFiles | None) -> None:
    """Add the tool; with `files` it can upload files of this machine."""

    def upload_model(
        context: Context[Any, Any],
        operation: Annotated[Operation, Field(description="What to do; see the tool's description for the order.")],
        modelId: Annotated[str | None, Field(description="Id of a model.")] = None,
        filename: Annotated[
            str | None,
            Field(
                description="get_upload_auth: a name ending in .pkl. create: the name that get_upload_auth returned."
            ),
        ] = None,
        presignedUrl: Annotated[
            str | None, Field(description="put_file: the url from get_upload_auth, unchanged.")
        ] = None,
        localPath: Annotated[str | None, Field(description="put_file: absolute path of the .pkl file.")] = None,
        pickleId: Annotated[str | None, Field(description="Id of a pickle.")] = None,
        triggerId: Annotated[
            str | None, Field(description="get_logs, cancel: id of a run, from the triggers of a pickle.")
        ] = None,
        triggerValidation: Annotated[
            bool, Field(description="trigger: validate again instead of running for the open round.")
        ] = False,
        dockerImageId: Annotated[
            str | None, Field(description="create: id of a runtime; the default if omitted.")
        ] = None,
        dataVersionId: Annotated[
            str | None, Field(description="create: id of a data version; the default if omitted.")
        ] = None,
        unassigned: Annotated[bool, Field(description="list: only unassigned pickles.")] = False,
        apiToken: ApiToken = None,
    ) -> dict[str, Any]:
        call = _UploadCall(
            query=partial(tool_context.query, context, apiToken),
            files=files,
            model_id=modelId or None,
            filename=filename,
            presigned_url=presignedUrl,
            local_path=localPath,
            pickle_id=pickleId,
            run_id=triggerId,
            run_validation=triggerValidation,
            docker_image_id=dockerImageId or None,
            data_version_id=dataVersionId or None,
            unassigned=unassigned,
        )
        return _OPERATIONS[operation](call)

    server.add_tool(
        upload_model,
        title="Upload a model",
        description=DESCRIPTION.format(put=PUT_HERE if files is not None else PUT_YOURSELF),
        annotations=ToolAnnotations(
            read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=True
        ),
        structured_output=True,
    )


@dataclass(frozen=True, kw_only=True)
class _UploadCall:
    """The parameters of a call; each operation is a method. `query` executes a GraphQL document with variables."""

    query: Callable[[str, dict[str, Any]], dict[str, Any]]
    files: LocalFiles | None
    model_id: str | None
    filename: str | None
    presigned_url: str | None
    local_path: str | None
    pickle_id: str | None
    run_id: str | None
    run_validation: bool
    docker_image_id: str | None
    data_version_id: str | None
    unassigned: bool

    def get_upload_auth(self) -> dict[str, Any]:
        variables = {"filename": self.filename or "model.pkl", "modelId": self.model_id}
        response = self.query(operations.UPLOAD_AUTH, variables)
        grant = response.get("computePickleUploadAuth")
        if self.files is not None and grant:
            self.files.remember(str(grant["url"]), str(grant["filename"]))
        return response

    def put_file(self) -> dict[str, Any]:
        if self.files is None:
            fail(f"This MCP server runs on the server's machine and can't read your files. {PUT_YOURSELF}")
        path = require(self.local_path, "localPath", "put_file", "the absolute path of a .pkl file")
        target = require(self.presigned_url, "presignedUrl", "put_file", "get_upload_auth returns it as url")
        try:
            return {"putFile": self.files.send(path, target)}
        except PredictdError as error:
            raise ToolError(error.message) from error

    def create(self) -> dict[str, Any]:
        filename = require(self.filename, "filename", "create", "get_upload_auth returns it")
        variables = {
            "filename": filename,
            "tournament": CLASSIC,
            "modelId": self.model_id,
            "dockerImageId": self.docker_image_id,
            "dataVersionId": self.data_version_id,
            "source": "mcp",
        }
        return self.query(operations.CREATE, variables)

    def list_pickles(self) -> dict[str, Any]:
        variables = {"id": self.pickle_id or None, "modelId": self.model_id, "unassigned": self.unassigned}
        return self.query(operations.PICKLES, variables)

    def assign(self) -> dict[str, Any]:
        model = require(self.model_id, "modelId", "assign", "graphql_query '{ account { models { id name } } }' has it")
        if self.pickle_id is None:
            fail('assign needs pickleId: list has it. To empty the model\'s slot give pickleId "".')
        return self.query(operations.ASSIGN, {"modelId": model, "pickleId": self.pickle_id or None})

    def run(self) -> dict[str, Any]:
        if not self.pickle_id and not self.model_id:
            fail("trigger needs pickleId, or modelId for the pickle in its slot: list has both.")
        variables = {
            "modelId": self.model_id,
            "pickleId": self.pickle_id or None,
            "triggerValidation": self.run_validation,
        }
        return self.query(operations.TRIGGER, variables)

    def cancel(self) -> dict[str, Any]:
        run = require(self.run_id, "triggerId", "cancel", "list has it, in triggers of the pickle")
        return self.query(operations.CANCEL, {"triggerId": run})

    def get_logs(self) -> dict[str, Any]:
        if not self.run_id and self.pickle_id:
            return self.query(operations.DIAGNOSTICS_LOGS, {"pickleId": self.pickle_id})
        run = require(self.run_id, "triggerId", "get_logs", "list has it, in triggers of the pickle")
        return self.query(operations.LOGS, {"triggerId": run})

    def list_data_versions(self) -> dict[str, Any]:
        return self.query(operations.DATA_VERSIONS, {})

    def list_docker_images(self) -> dict[str, Any]:
        return self.query(operations.DOCKER_IMAGES, {})


_OPERATIONS: dict[Operation, Callable[[_UploadCall], dict[str, Any]]] = {
    "get_upload_auth": _UploadCall.get_upload_auth,
    "put_file": _UploadCall.put_file,
    "create": _UploadCall.create,
    "list": _UploadCall.list_pickles,
    "assign": _UploadCall.assign,
    "trigger": _UploadCall.run,
    "cancel": _UploadCall.cancel,
    "get_logs": _UploadCall.get_logs,
    "list_data_versions": _UploadCall.list_data_versions,
    "list_docker_images": _UploadCall.list_docker_images,
}
