"""The tool upload_model: a pickle from the upload URL to its log."""

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
from predictd.mcp import documents, extensions
from predictd.mcp.files import LocalFiles
from predictd.mcp.tool_context import ApiToken, Desk, needed, refuse

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

DESCRIPTION = """Upload a pickled model and follow it. A whole upload is, in this order:
1. list_docker_images: choose the one whose Python made the pickle; its id is dockerImageId.
2. get_upload_auth(modelId, filename): answers a unique filename and a presigned url, good for 10 minutes.
3. {put}
4. create(filename of step 2, modelId, dockerImageId, dataVersionId): registers it and starts its validation.
   Validated, it takes the model's slot and submits to the open round. Ask the user before this step: it changes what
   the model submits.
5. list(pickleId or modelId), every few seconds, until validationStatus is validated or invalid and the trigger's status
   is submission_succeeded, model_failed or error. The last of its statuses has a description with reason and remedy.
   'No currently open rounds!' on a validated pickle is no failure: it runs when the next round opens.
6. get_logs(triggerId): what the model printed; also while it runs. With pickleId alone: what its diagnostics printed.
Also: assign(modelId, pickleId) puts a validated pickle into a slot (pickleId "" empties the slot);
trigger(pickleId or modelId, triggerValidation) runs it now, for the open round or for validation again;
cancel(triggerId) ends a run that waits or runs, for good;
list(unassigned=true) shows pickles in no slot; list_data_versions."""

PUT_HERE = "put_file(localPath, presignedUrl): sends a .pkl file of the machine that this MCP server runs on."
PUT_YOURSELF = (
    "PUT the file's bytes to that url yourself, with no token and no other headers: curl -f -T model.pkl 'URL'. "
    "(put_file exists only where this MCP server runs on the user's machine: predictd mcp.)"
)


def add_upload_tool(server: MCPServer[Any], desk: Desk, files: LocalFiles | None) -> None:
    """Add the tool; with `files` it sends files of this machine too."""

    def upload_model(
        context: Context[Any, Any],
        operation: Annotated[Operation, Field(description="What to do; see the tool's description for the order.")],
        modelId: Annotated[str | None, Field(description="Id of a model.")] = None,
        filename: Annotated[
            str | None,
            Field(
                description="get_upload_auth: a name ending in .pkl. create: the name that get_upload_auth answered."
            ),
        ] = None,
        presignedUrl: Annotated[
            str | None, Field(description="put_file: the url of get_upload_auth, unchanged.")
        ] = None,
        localPath: Annotated[str | None, Field(description="put_file: whole path of the .pkl file.")] = None,
        pickleId: Annotated[str | None, Field(description="Id of a pickle.")] = None,
        triggerId: Annotated[
            str | None, Field(description="get_logs, cancel: id of a run, from triggers of a pickle.")
        ] = None,
        triggerValidation: Annotated[
            bool, Field(description="trigger: validate again, in place of running for the open round.")
        ] = False,
        dockerImageId: Annotated[
            str | None, Field(description="create: id of a runtime; the default one if none.")
        ] = None,
        dataVersionId: Annotated[
            str | None, Field(description="create: id of a data version; the default if none.")
        ] = None,
        unassigned: Annotated[bool, Field(description="list: only pickles that sit in no slot.")] = False,
        apiToken: ApiToken = None,
    ) -> dict[str, Any]:
        asked = _Asked(
            ask=partial(desk.ask, context, apiToken),
            files=files,
            model_id=modelId or None,
            filename=filename,
            presigned_url=presignedUrl,
            local_path=localPath,
            pickle_id=pickleId,
            trigger_id=triggerId,
            trigger_validation=triggerValidation,
            docker_image_id=dockerImageId or None,
            data_version_id=dataVersionId or None,
            unassigned=unassigned,
        )
        return _OPERATIONS[operation](asked)

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
class _Asked:
    """The parameters of one call; each operation is a method. `ask` answers a document with its variables."""

    ask: Callable[[str, dict[str, Any]], dict[str, Any]]
    files: LocalFiles | None
    model_id: str | None
    filename: str | None
    presigned_url: str | None
    local_path: str | None
    pickle_id: str | None
    trigger_id: str | None
    trigger_validation: bool
    docker_image_id: str | None
    data_version_id: str | None
    unassigned: bool

    def get_upload_auth(self) -> dict[str, Any]:
        wanted = {"filename": self.filename or "model.pkl", "modelId": self.model_id}
        answer = self.ask(documents.UPLOAD_AUTH, wanted)
        grant = answer.get("computePickleUploadAuth")
        if self.files is not None and grant:
            self.files.remember(str(grant["url"]), str(grant["filename"]))
        return answer

    def put_file(self) -> dict[str, Any]:
        if self.files is None:
            refuse(f"This MCP server runs on the server's machine and can't read your files. {PUT_YOURSELF}")
        path = needed(self.local_path, "localPath", "put_file", "the whole path of a .pkl file")
        target = needed(self.presigned_url, "presignedUrl", "put_file", "the url that get_upload_auth answered")
        try:
            return {"putFile": self.files.send(path, target)}
        except PredictdError as error:
            raise ToolError(error.message) from error

    def create(self) -> dict[str, Any]:
        filename = needed(self.filename, "filename", "create", "the one that get_upload_auth answered")
        wanted = {
            "filename": filename,
            "tournament": CLASSIC,
            "modelId": self.model_id,
            "dockerImageId": self.docker_image_id,
            "dataVersionId": self.data_version_id,
            "source": "mcp",
        }
        return self.ask(documents.CREATE, wanted)

    def list_pickles(self) -> dict[str, Any]:
        wanted = {"id": self.pickle_id or None, "modelId": self.model_id, "unassigned": self.unassigned}
        return self.ask(documents.PICKLES, wanted)

    def assign(self) -> dict[str, Any]:
        model = needed(self.model_id, "modelId", "assign", "graphql_query '{ account { models { id name } } }' has it")
        if self.pickle_id is None:
            refuse('assign needs pickleId: list has it. To empty the model\'s slot give pickleId "".')
        return self.ask(documents.ASSIGN, {"modelId": model, "pickleId": self.pickle_id or None})

    def trigger(self) -> dict[str, Any]:
        if not self.pickle_id and not self.model_id:
            refuse("trigger needs pickleId, or modelId for the pickle in its slot: list has both.")
        wanted = {
            "modelId": self.model_id,
            "pickleId": self.pickle_id or None,
            "triggerValidation": self.trigger_validation,
        }
        return self.ask(documents.TRIGGER, wanted)

    def cancel(self) -> dict[str, Any]:
        trigger = needed(self.trigger_id, "triggerId", "cancel", "list has it, in triggers of the pickle")
        return self.ask(extensions.CANCEL, {"triggerId": trigger})

    def get_logs(self) -> dict[str, Any]:
        if not self.trigger_id and self.pickle_id:
            return self.ask(documents.DIAGNOSTICS_LOGS, {"pickleId": self.pickle_id})
        trigger = needed(self.trigger_id, "triggerId", "get_logs", "list has it, in triggers of the pickle")
        return self.ask(documents.LOGS, {"triggerId": trigger})

    def list_data_versions(self) -> dict[str, Any]:
        return self.ask(documents.DATA_VERSIONS, {})

    def list_docker_images(self) -> dict[str, Any]:
        return self.ask(documents.DOCKER_IMAGES, {})


_OPERATIONS: dict[Operation, Callable[[_Asked], dict[str, Any]]] = {
    "get_upload_auth": _Asked.get_upload_auth,
    "put_file": _Asked.put_file,
    "create": _Asked.create,
    "list": _Asked.list_pickles,
    "assign": _Asked.assign,
    "trigger": _Asked.trigger,
    "cancel": _Asked.cancel,
    "get_logs": _Asked.get_logs,
    "list_data_versions": _Asked.list_data_versions,
    "list_docker_images": _Asked.list_docker_images,
}
