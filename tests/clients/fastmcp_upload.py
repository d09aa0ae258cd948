"""The whole upload as a script with fastmcp does it, the token with each call.

`fastmcp_upload.py ADDRESS TOKEN PICKLE`, run in an environment of fastmcp's own; prints the last answer as JSON.
"""

import asyncio
import json
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from fastmcp import Client

FINAL = {"submission_succeeded", "model_failed", "error"}


class Refused(Exception):
    """A tool answered with an error."""


async def main(address: str, token: str, path: Path) -> dict[str, Any]:
    async with Client(f"{address}/mcp") as client:

        async def call(tool: str, **arguments: Any) -> dict[str, Any]:
            result = await client.call_tool(tool, arguments, raise_on_error=False)
            text = result.content[0].text
            if result.is_error:
                raise Refused(text)
            assert json.loads(text) == result.structured_content
            return dict(result.structured_content)

        async def step(operation: str, **arguments: Any) -> dict[str, Any]:
            return await call("upload_model", operation=operation, apiToken=token, **arguments)

        without = await client.call_tool("check_api_credentials", {}, raise_on_error=False)
        assert without.is_error
        assert "parameter apiToken" in without.content[0].text
        info = (await call("check_api_credentials", apiToken=token))["apiTokenInfo"]
        assert "upload_submission" in info["scopes"]
        model_id = (await call("create_model", name="by_fastmcp", apiToken=token))["addModel"]["id"]
        auth = (await step("get_upload_auth", modelId=model_id, filename=path.name))["computePickleUploadAuth"]
        request = urllib.request.Request(auth["url"], data=path.read_bytes(), method="PUT")
        with urllib.request.urlopen(request, timeout=60) as response:
            assert response.status == 200
        created = await step("create", filename=auth["filename"], modelId=model_id)
        pickle_id = created["createComputePickleUpload"]["id"]
        deadline = time.monotonic() + 120
        while True:
            [pickle] = (await step("list", pickleId=pickle_id))["computePickles"]
            [run] = pickle["triggers"]
            if run["status"] in FINAL:
                break
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
        logs = (await step("get_logs", triggerId=run["id"]))["triggerLogs"]
        return {
            "status": run["status"],
            "validated": pickle["validationStatus"],
            "slots": pickle["assignedModelSlots"] == [model_id],
            "log": logs[0]["message"],
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))))
