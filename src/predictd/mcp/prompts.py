"""Prompts: the workflow of a deployment, for a person to hand to an agent."""

from typing import Annotated, Any

from mcp.server import MCPServer
from pydantic import Field


def add_prompts(server: MCPServer[Any]) -> None:
    """Add the prompts."""

    @server.prompt(title="Deploy a model")
    def deploy_model(
        file: Annotated[str, Field(description="Path of the pickle, on your machine.")],
        model: Annotated[str, Field(description="Name of the model it is for.")],
    ) -> str:
        """Upload a pickle for a model and see it through to its first submission."""
        return f"""Deploy the pickle {file} as the model {model}.

1. check_api_credentials: the token must have upload_submission and read_submission_info.
2. graphql_query '{{ account {{ models {{ id name computePickleUpload {{ id filename }} }} }} }}' for the id of {model}.
   If there is no such model, ask me before you call create_model.
3. upload_model list_docker_images: choose the runtime whose Python made the pickle. If you can't tell, ask me.
4. Tell me what will happen (which runtime; which pickle is replaced in the slot) and wait for my yes.
5. upload_model get_upload_auth, then send the file as the tool's description says, then create.
6. upload_model list with the pickle's id every few seconds until its trigger has ended. Tell me each new status.
7. Success: tell me the round it submitted to. 'No currently open rounds!': it is validated and runs when the next one
   opens. model_failed: get_logs, then explain the reason and its remedy in your own words. Do not upload again without
   my yes."""

    @server.prompt(title="Find out why a model failed")
    def debug_failure(model: Annotated[str, Field(description="Name of the model.")]) -> str:
        """Explain the last failed run of a model and say how to mend it."""
        return f"""Find out why the last run of my model {model} failed.

1. graphql_query '{{ account {{ models {{ id name }} }} }}' for its id, then upload_model list with modelId.
2. Take the newest pickle and its newest trigger. The description of its last status has the reason and the remedy.
3. upload_model get_logs with the triggerId: find the traceback, if there is one.
4. Explain in a few sentences: what happened, which line of the model it was, what to change. If the Python or a package
   differs from the runtime's, name both versions. The status `error` is the platform's own fault: say so, and offer to
   trigger it again. Change and upload nothing without my yes."""

    @server.prompt(title="Roll a model back")
    def roll_back(model: Annotated[str, Field(description="Name of the model.")]) -> str:
        """Put the pickle back that served a model before."""
        return f"""Put the pickle back that served my model {model} before the present one.

1. graphql_query '{{ account {{ models {{ id name computePickleUpload {{ id filename }} }} }} }}' for its id and pickle.
2. upload_model list with modelId: the newest pickle that is validated and older than the present one.
3. Tell me both, with their dates, and wait for my yes. Then upload_model assign."""
