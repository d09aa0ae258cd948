"""Prompts for common workflows, which a user can pass to an agent."""

from typing import Annotated, Any

from mcp.server import MCPServer
from pydantic import Field


def add_prompts(server: MCPServer[Any]) -> None:
    """Add all prompts to the server."""

    @server.prompt(title="Deploy a model")
    def deploy_model(
        file: Annotated[str, Field(description="Path of the pickle on your machine.")],
        model: Annotated[str, Field(description="Name of the model to upload it for.")],
    ) -> str:
        """Upload a pickle for a model and follow it to its first submission."""
        return f"""Deploy the pickle {file} as the model {model}.

1. check_api_credentials: the token must have upload_submission and read_submission_info.
2. graphql_query '{{ account {{ models {{ id name computePickleUpload {{ id filename }} }} }} }}' for the id of {model}.
   If the model does not exist, ask me before you call create_model.
3. upload_model list_docker_images: choose the runtime with the Python version of the pickle. If it is unknown, ask me.
4. Tell me what will happen (which runtime, which pickle is replaced) and wait for my approval.
5. upload_model get_upload_auth, then upload the file as described in the tool's description, then create.
6. upload_model list with the pickle's id every few seconds until its trigger has ended. Report each new status.
7. Success: report the round it submitted to. 'No currently open rounds!': it is validated and runs when the next round
   opens. model_failed: get_logs, then explain the reason and its remedy in your own words. Do not upload again without
   my approval."""

    @server.prompt(title="Find out why a model failed")
    def debug_failure(model: Annotated[str, Field(description="Name of the model.")]) -> str:
        """Explain the last failed run of a model and how to fix it."""
        return f"""Find out why the last run of my model {model} failed.

1. graphql_query '{{ account {{ models {{ id name }} }} }}' for its id, then upload_model list with modelId.
2. Take the newest pickle and its newest trigger. The description of its last status has the reason and the remedy.
3. upload_model get_logs with the triggerId: find the traceback, if there is one.
4. Explain in a few sentences: what happened, which line of the model it was, what to change. If the Python or a package
   differs from the runtime's, name both versions. The status `error` is a failure of the platform: say so, and offer to
   trigger it again. Change and upload nothing without my approval."""

    @server.prompt(title="Roll a model back")
    def roll_back(model: Annotated[str, Field(description="Name of the model.")]) -> str:
        """Restore the previous pickle of a model."""
        return f"""Restore the previous pickle of my model {model}.

1. graphql_query '{{ account {{ models {{ id name computePickleUpload {{ id filename }} }} }} }}' for its id and pickle.
2. upload_model list with modelId: the newest validated pickle that is older than the current one.
3. Tell me both, with their dates, and wait for my approval. Then upload_model assign."""
