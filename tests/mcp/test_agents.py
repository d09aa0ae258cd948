"""Agents, over all transports, with the official client and with fastmcp's: real servers, real files."""

import asyncio
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import requests
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from client_proxy import Proxy, proxy_of
from conftest import FINAL, PREDICTD, ROOT, Server, User
from mcp import Client, StdioServerParameters

TRANSPORTS = ["stdio", "http", "sse"]
# The contract's table.
TOOLS = {
    "check_api_credentials": {"apiToken"},
    "create_model": {"name", "tournament"},
    "upload_model": {
        *("operation", "modelId", "filename", "presignedUrl", "localPath", "pickleId", "triggerId"),
        *("triggerValidation", "dockerImageId", "dataVersionId", "unassigned"),
    },
    "graphql_query": {"query", "variables"},
    "get_tournaments": set(),
    "get_current_round": {"tournament"},
    "list_datasets": {"tournament"},
    "get_leaderboard": {"tournament", "limit", "offset"},
    "get_model_profile": {"modelName", "modelId"},
    "get_model_performance": {"modelName", "modelId"},
    "run_diagnostics": {"modelId", "operation"},
}
UPLOAD_OPERATIONS = [
    *("get_upload_auth", "put_file", "create", "list", "assign", "trigger", "get_logs"),
    *("list_data_versions", "list_docker_images"),
]
BEYOND_THE_CONTRACT = ["cancel"]


class Refused(Exception):
    """A tool answered with an error."""


class Agent:
    """Calls tools and answers their JSON, which is the same as structure and as text."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def call(self, tool: str, **arguments: Any) -> Any:
        result = await self.client.call_tool(tool, arguments)
        text = result.content[0].text  # type: ignore[union-attr]
        if result.is_error:
            raise Refused(text)
        assert json.loads(text) == result.structured_content
        return result.structured_content


def stdio(address: str, home: Path, token: str = "") -> StdioServerParameters:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    environment |= {"PREDICTD_TOKEN": token} if token else {}
    return StdioServerParameters(command=PREDICTD, args=["mcp", "--server", address], env=environment)


@asynccontextmanager
async def agent(
    transport: str, address: str, home: Path, token: str = "", scheme: str = "Token"
) -> AsyncIterator[Agent]:
    headers = {"Authorization": f"{scheme} {token}"} if token else {}
    async with httpx2.AsyncClient(headers=headers) as http:
        ways: dict[str, Callable[[], Any]] = {
            "stdio": lambda: stdio(address, home, token),
            "http": lambda: streamable_http_client(f"{address}/mcp", http_client=http),
            "sse": lambda: sse_client(f"{address}/mcp/sse", headers=headers),
        }
        async with Client(ways[transport]()) as client:
            yield Agent(client)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def upload(agent: Agent, path: Path, model: str, *, by_put_file: bool, **token: str) -> str:
    """The whole upload, from credentials to logs; answers the model's id."""
    info = (await agent.call("check_api_credentials", **token))["apiTokenInfo"]
    assert "upload_submission" in info["scopes"]
    model_id = (await agent.call("create_model", name=model, **token))["addModel"]["id"]
    account = (await agent.call("graphql_query", query="{ account { models { id } } }", **token))["account"]
    assert {"id": model_id} in account["models"]

    async def step(operation: str, **arguments: Any) -> Any:
        return await agent.call("upload_model", operation=operation, **arguments, **token)

    images = (await step("list_docker_images"))["computePickleDockerImages"]
    versions = (await step("list_data_versions"))["computePickleDataVersions"]
    auth = (await step("get_upload_auth", modelId=model_id, filename=path.name))["computePickleUploadAuth"]
    if by_put_file:
        sent = await step("put_file", localPath=str(path), presignedUrl=auth["url"])
        assert sent["putFile"] == {"filename": auth["filename"], "bytes": path.stat().st_size}
    else:
        assert requests.put(auth["url"], data=path.read_bytes(), timeout=60).status_code == 200
    created = await step(
        "create",
        filename=auth["filename"],
        modelId=model_id,
        dockerImageId=next(one["id"] for one in images if one["default"]),
        dataVersionId=versions[0]["id"],
    )
    pickle_id = created["createComputePickleUpload"]["id"]
    deadline = time.monotonic() + 120
    while True:
        [pickle] = (await step("list", pickleId=pickle_id))["computePickles"]
        [run] = pickle["triggers"]
        if run["status"] in FINAL:
            break
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    assert (run["status"], pickle["validationStatus"]) == ("submission_succeeded", "validated")
    assert pickle["assignedModelSlots"] == [model_id]
    assert (await step("assign", modelId=model_id, pickleId=pickle_id)) == {"assignPickleToModel": "true"}
    logs = (await step("get_logs", triggerId=run["id"]))["triggerLogs"]
    assert logs[0]["message"].startswith("predicting")
    return str(model_id)


@pytest.fixture(scope="module")
def alice(open_server: Server) -> User:
    return open_server.user("agents")


@pytest.fixture
def pickle(pickles: dict[str, bytes], tmp_path: Path) -> Path:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickles["good"])
    return path


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_agent_takes_a_model_from_credentials_to_logs(transport: str, alice: User, pickle: Path) -> None:
    async def work() -> None:
        async with agent(transport, alice.address, pickle.parent, alice.token) as one:
            await upload(one, pickle, f"by_{transport}", by_put_file=transport == "stdio")

    run(work())


def test_a_script_with_fastmcp_gives_the_token_with_each_call(alice: User, pickle: Path) -> None:
    python = ROOT / ".cache" / "fastmcp" / "bin" / "python"
    assert python.exists(), "run scripts/prepare_tests.py first (make test does)"
    script = ROOT / "tests" / "clients" / "fastmcp_upload.py"
    command = [str(python), str(script), alice.address, alice.token, str(pickle)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer.pop("log").startswith("predicting")
    assert answer == {"status": "submission_succeeded", "validated": "validated", "slots": True}


@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_the_tools_are_those_of_the_contract(transport: str, alice: User, tmp_path: Path) -> None:
    async def work() -> None:
        async with agent(transport, alice.address, tmp_path, alice.token) as one:
            tools = {tool.name: tool for tool in (await one.client.list_tools()).tools}
            assert set(tools) == set(TOOLS)
            for name, parameters in TOOLS.items():
                known = tools[name].input_schema["properties"]
                assert parameters | {"apiToken"} <= set(known)
                assert tools[name].description
                assert all("description" in one for one in known.values()), name
            assert tools["upload_model"].input_schema["properties"]["operation"]["enum"] == [
                *UPLOAD_OPERATIONS,
                *BEYOND_THE_CONTRACT,
            ]
            hints = {name: tool.annotations for name, tool in tools.items()}
            reading = {name for name, one in hints.items() if one and one.read_only_hint}
            assert reading == set(TOOLS) - {"create_model", "upload_model", "graphql_query", "run_diagnostics"}
            assert not hints["create_model"].destructive_hint  # type: ignore[union-attr]
            assert hints["upload_model"].destructive_hint  # type: ignore[union-attr]
            prompt = await one.client.get_prompt("deploy_model", {"file": "m.pkl", "model": "trees"})
            assert "trees" in prompt.messages[0].content.text  # type: ignore[union-attr]

    run(work())


def test_every_tool_that_reads_answers_its_part_of_the_graphql(alice: User, tmp_path: Path) -> None:
    model_id = alice.add_model("looked_at")

    async def work() -> None:
        async with agent("http", alice.address, tmp_path, alice.token) as one:
            assert (await one.call("get_tournaments"))["tournaments"][0]["tournament"] == 8
            assert (await one.call("get_current_round"))["rounds"][0]["number"] == 1
            assert "v5.3/live.parquet" in (await one.call("list_datasets", tournament=8))["listDatasets"]
            assert "accountLeaderboard" in await one.call("get_leaderboard", tournament=8, limit=5, offset=0)
            for named in ({"modelName": "looked_at"}, {"modelId": model_id}):
                assert (await one.call("get_model_profile", **named))["v3UserProfile"]["id"] == model_id
                assert "v2RoundModelPerformances" in await one.call("get_model_performance", **named)
            auth = await one.call("run_diagnostics", operation="get_upload_auth", modelId=model_id)
            assert auth["diagnosticsUploadAuth"]["filename"].endswith(".csv")
            assert (await one.call("run_diagnostics", operation="list", modelId=model_id))["diagnostics"] == []

    run(work())


def test_a_refusal_says_what_to_do(open_server: Server, alice: User, tmp_path: Path) -> None:
    made = open_server.predictd("token", "create", alice.username, "--scope", "read_submission_info", "--json")
    few = json.loads(made.stdout)

    async def work() -> None:
        async with agent("http", alice.address, tmp_path, alice.token) as one:
            for tool, arguments, says in [
                ("create_model", {"name": "no spaces"}, "letters, digits"),
                ("upload_model", {"operation": "create", "filename": "unknown.pkl"}, "get_upload_auth returns it"),
                ("upload_model", {"operation": "get_logs"}, "list has it"),
                ("upload_model", {"operation": "cancel"}, "list has it"),
                ("upload_model", {"operation": "cancel", "triggerId": "unknown"}, "not found"),
                ("upload_model", {"operation": "assign", "modelId": "x", "pickleId": "y"}, "graphql_query"),
                ("upload_model", {"operation": "put_file", "localPath": "/etc/passwd", "presignedUrl": "x"}, "curl"),
                ("upload_model", {"operation": "no such thing"}, "get_upload_auth"),
                ("graphql_query", {"query": "{ nothing }"}, "__type"),
                ("graphql_query", {"query": "{", "variables": {}}, "Syntax Error"),
                ("check_api_credentials", {"apiToken": "nonsense"}, r"PUBLIC_ID\$SECRET_KEY"),
                ("check_api_credentials", {"apiToken": "a$b"}, "session is invalid"),
                (
                    "create_model",
                    {"name": "refused", "apiToken": f"{few['public_id']}${few['secret_key']}"},
                    "lacks the scope upload_submission",
                ),
            ]:
                with pytest.raises(Refused, match=says):
                    await one.call(tool, **arguments)

    run(work())


@pytest.mark.parametrize("transport", ["http", "sse"])
def test_one_sessions_token_is_no_others(transport: str, open_server: Server, alice: User, tmp_path: Path) -> None:
    bob = open_server.user(f"bob_{transport}")
    who = "check_api_credentials"

    async def work() -> None:
        async with (
            agent(transport, alice.address, tmp_path, alice.token, "Token Token") as first,
            agent(transport, alice.address, tmp_path, bob.token) as second,
            agent(transport, alice.address, tmp_path) as nobody,
        ):
            for _ in range(3):
                answers = await asyncio.gather(first.call(who), second.call(who), first.call(who, apiToken=bob.token))
                names = [one["apiTokenInfo"]["accountUsername"] for one in answers]
                assert names == [alice.username, bob.username, bob.username]
                with pytest.raises(Refused, match="Authorization: Token"):
                    await nobody.call(who)

    run(work())


def test_any_name_of_the_server_will_do_behind_a_proxy(alice: User) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    call["params"] = {"name": "check_api_credentials", "arguments": {}}  # type: ignore[assignment]
    accepts = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
    for headers in ({"Host": "models.example.org"}, {"Host": "models.example.org", "Origin": "https://example.org"}):
        answer = requests.post(f"{alice.address}/mcp", json=call, headers=alice.headers | accepts | headers, timeout=30)
        assert answer.status_code == 200, answer.text
        assert alice.username in answer.text


def test_put_file_sends_pickles_alone_and_where_the_server_wants_them_alone(alice: User, pickle: Path) -> None:
    secret = pickle.with_name("secret.txt")
    secret.write_text("secret")
    link = pickle.with_name("link.pkl")
    link.symlink_to(secret)
    folder = pickle.with_name("folder.pkl")
    folder.mkdir()
    pipe = pickle.with_name("pipe.pkl")
    os.mkfifo(pipe)

    async def work(proxy: Proxy) -> None:
        async with agent("stdio", proxy.address, pickle.parent, alice.token) as one:
            auth = (await one.call("upload_model", operation="get_upload_auth"))["computePickleUploadAuth"]

            async def put(path: Path, url: str) -> None:
                await one.call("upload_model", operation="put_file", localPath=str(path), presignedUrl=url)

            for path, says in [
                (secret, "must end in .pkl"),
                (link, "must end in .pkl"),
                (folder, "is not a file"),
                (pipe, "is not a file"),
                (pickle.with_name("missing.pkl"), "does not exist"),
            ]:
                with pytest.raises(Refused, match=says):
                    await put(path, auth["url"])
            for url in ("http://127.0.0.1:9/files/x", f"{auth['url']}x", alice.address):
                with pytest.raises(Refused, match="not issued in this session"):
                    await put(pickle, url)
            assert proxy.count("PUT") == 0
            proxy.faults = [("PUT", 307)]
            with pytest.raises(Refused, match="responded with 307"):
                await put(pickle, auth["url"])
            assert proxy.count("PUT") == 1

    with proxy_of(alice.address) as proxy:
        run(work(proxy))


def test_a_server_stops_well_while_agents_are_connected(new_server: Callable[..., Server], tmp_path: Path) -> None:
    server = new_server()

    async def work() -> None:
        async with agent("sse", server.address, tmp_path) as one:
            await one.call("get_tournaments")
            assert await asyncio.to_thread(server.stop) == 0

    run(work())
    assert "Traceback" not in server.log
    assert "ERROR" not in server.log


def test_nothing_but_the_protocol_goes_to_standard_output(alice: User, tmp_path: Path) -> None:
    client = {"name": "test", "version": "1"}
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
    messages: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {
            "jsonrpc": "2.0",
            "id": 2,
            "method": "tools/call",
            "params": {"name": "graphql_query", "arguments": {"query": "{"}},
        },
        {"jsonrpc": "2.0", "id": 3, "method": "no/such/thing"},
    ]
    parameters = stdio(alice.address, tmp_path, alice.token)
    with subprocess.Popen(
        [parameters.command, *parameters.args],
        env=parameters.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write("".join(json.dumps(message) + "\n" for message in messages) + "no JSON at all\n")
        server.stdin.flush()
        answers = [json.loads(server.stdout.readline()) for _ in range(3)]
        rest, told = server.communicate(timeout=30)
    assert {one["id"] for one in answers} == {1, 2, 3}
    assert [json.loads(line)["jsonrpc"] for line in rest.splitlines()] == ["2.0"] * len(rest.splitlines())
    assert alice.secret_key not in told
