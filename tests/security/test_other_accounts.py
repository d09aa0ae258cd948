"""The token of one account against everything of another: content, error text, and the work that an answer takes.

The operations are made from the schema, the pages from their routes, the tools from their list, so that a new one is
tried as soon as it is there. Work is counted in statements of SQL, which a busy machine does not change: an object of
another account takes as many as one that does not exist, so that time tells nothing either.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
import requests
import sqlalchemy as sa
from mcp.client.streamable_http import streamable_http_client
from operations import PUBLIC, Operation, operations, unknown_arguments, without_references
from starlette.routing import Route

from browsing import Visitor, make_account
from conftest import Server, User
from mcp import Client
from predictd.api.asgi import build_schema
from predictd.api.graphql.endpoint import Endpoint
from predictd.api.graphql.query_limits import SLOW_FIELDS
from predictd.db import Database
from predictd.db.models import Run
from predictd.http.context import Context
from predictd.http.services import Services
from predictd.settings import Settings
from predictd.storage import FolderStorage
from predictd.web import web_routes

SCHEMA = build_schema()
ADD_WEBHOOK = 'mutation { addWebhookEndpoint(url: "https://example.org/hook", events: [run_failed]) { id } }'
UNKNOWN = "7b1e6a52-0d52-4b3f-9c3e-6f0a52d4c1e9"
EVERYTHING = """{ account { id email bio emailPreferences { submission } apiTokens { publicId }
    models { id name description archived submissionWebhook computePickleUpload { id } submissions { id selected } } }
    computePickles { id label validationStatus assignedModelSlots triggers { id status } }
    diagnostics { id } submissions { id selected } }"""


@dataclass(frozen=True)
class Accounts:
    """Alice, who owns one of everything, and Mallory, who is curious and has a model and a pickle too."""

    server: Server
    alice: User
    mallory: User
    theirs: dict[str, str]
    own: dict[str, str]


def everything_of(user: User, pickles: dict[str, bytes], server: Server, name: str) -> dict[str, str]:
    """One object of each kind, by kind: ids, and filenames of uploads that arrived and are not registered."""
    model = user.add_model(f"{name}_model")
    pickle = user.upload(pickles["one_argument"], model)
    run = user.wait(pickle)["triggers"][0]
    told = user.ask("{ account { id } diagnostics { id } submissions { id } }")
    database = Database(server.environment["PREDICTD_DATABASE_URL"])
    with closing(database), database.read() as session:
        diagnosing = session.scalars(sa.select(Run.id).where(Run.diagnostics_id == told["diagnostics"][0]["id"]))
        diagnostics_run = diagnosing.one()
    return {
        "model": model,
        "pickle": pickle,
        "trigger": run["id"],
        "diagnostics_trigger": diagnostics_run,
        "submission": told["submissions"][0]["id"],
        "diagnostics": told["diagnostics"][0]["id"],
        "token": user.public_id,
        "account": told["account"]["id"],
        "webhook": user.ask(ADD_WEBHOOK)["addWebhookEndpoint"]["id"],
        "pickle_upload": user.put_pickle(pickles["one_argument"]),
        "submission_upload": arrived(user, "submissionUploadAuth"),
        "diagnostics_upload": arrived(user, "diagnosticsUploadAuth"),
    }


def arrived(user: User, field: str) -> str:
    auth = user.ask(f'{{ {field}(filename: "p.csv", tournament: 8) {{ filename url }} }}')[field]
    assert requests.put(auth["url"], data=b"id,prediction\nx,0.5\n", timeout=10).status_code == 200
    return str(auth["filename"])


@pytest.fixture(scope="module")
def accounts(
    make_server: Callable[..., AbstractContextManager[Server]], pickles: dict[str, bytes]
) -> Iterator[Accounts]:
    with make_server() as server:
        server.open_round("10h")
        alice, mallory = make_account(server, "alice"), make_account(server, "mallory")
        theirs = everything_of(alice, pickles, server, "alice")
        yield Accounts(server, alice, mallory, theirs, everything_of(mallory, pickles, server, "mallory"))


@pytest.fixture(scope="module")
def tried(accounts: Accounts) -> list[Operation]:
    return list(operations(SCHEMA, accounts.own))


def answered(answer: dict[str, Any], number: int, value: str) -> str:
    """What a document answers for one of its values, errors with it."""
    name = f"a{number}"
    assert answer["data"] is not None, answer
    errors = [{**one, "path": one["path"][1:]} for one in answer.get("errors", []) if one["path"][0] == name]
    told = [{key: inner for key, inner in one.items() if key != "locations"} for one in errors]
    return json.dumps([answer["data"][name], told]).replace(value, "ID")


def shown(text: str, value: str) -> str:
    """The page without what was asked for, and without what proves its forms."""
    return re.sub(r"[0-9a-f]{64}", "HASH", text).replace(value, "ID")


def test_everything_that_can_be_asked_has_a_case(tried: list[Operation]) -> None:
    assert unknown_arguments(SCHEMA) == [], "say in operations.py what these arguments are: REFERENCES or FILLED"
    assert len({one.field for one in tried}) >= 30
    assert len(tried) > 50


def test_an_object_of_another_account_is_answered_as_one_that_is_not(
    accounts: Accounts, tried: list[Operation]
) -> None:
    before = accounts.alice.ask(EVERYTHING)
    leaks = []
    for one in tried:
        wanted = [kind for kind in accounts.theirs if kind not in PUBLIC.get(one.field, ())]
        values = [UNKNOWN, *(accounts.theirs[kind] for kind in wanted)]
        # As many as one document may ask for.
        most = 1 if one.field in SLOW_FIELDS else 7
        answers: list[str] = []
        for start in range(0, len(values), most):
            batch = values[start : start + most]
            query, variables = one.document(batch)
            headers, asked = accounts.mallory.headers, {"query": query, "variables": variables}
            response = requests.post(accounts.mallory.address, json=asked, headers=headers, timeout=60)
            assert response.status_code == 200, (str(one), response.text)
            answers += [answered(response.json(), number, value) for number, value in enumerate(batch)]
        expected, *found = answers
        assert "Internal" not in expected, (str(one), expected)
        leaks += [(str(one), what, got, expected) for what, got in zip(wanted, found, strict=True) if got != expected]
    assert leaks == []
    assert accounts.alice.ask(EVERYTHING) == before


def test_lists_hold_nothing_private_of_another_account(accounts: Accounts) -> None:
    private = {kind: value for kind, value in accounts.theirs.items() if kind not in ("model", "account", "submission")}
    for name, document, variables in without_references(SCHEMA):
        asked = {"query": document, "variables": variables}
        for headers in (accounts.mallory.headers, {}):
            text = requests.post(accounts.mallory.address, json=asked, headers=headers, timeout=30).text
            assert [kind for kind, value in private.items() if value in text] == [], name


class Counted:
    """The GraphQL on the server's database without the network, which counts the statements of an answer."""

    def __init__(self, accounts: Accounts, database: Database) -> None:
        self._endpoint = Endpoint(SCHEMA)
        self._user = accounts.mallory
        self._database = database
        self._storage = FolderStorage.open(accounts.server.home / "storage", "http://localhost")
        settings = Settings(data_dir=accounts.server.home, runtimes_dir=accounts.server.home / "none")
        self._services = Services(database=database, storage=self._storage, settings=settings, wake=lambda: None)
        self._statements: list[str] = []
        sa.event.listen(database.engine, "before_cursor_execute", self._count)

    def _count(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self._statements.append(statement.split(" WHERE ", maxsplit=1)[0])

    def statements(self, document: str, variables: dict[str, Any]) -> list[str]:
        """What was asked of the database."""
        self._statements.clear()
        with self._database.read() as session:
            context = Context(
                services=self._services,
                storage=self._storage,
                session=session,
                authorization=self._user.headers["Authorization"],
                client_address="",
            )
            self._endpoint.execute({"query": document, "variables": variables}, context)
        return list(self._statements)


def test_an_object_of_another_account_takes_as_much_work_as_one_that_is_not(
    accounts: Accounts, tried: list[Operation]
) -> None:
    database = Database(accounts.server.environment["PREDICTD_DATABASE_URL"])
    uneven = []
    with closing(database):
        counted = Counted(accounts, database)
        for one in tried:
            expected = counted.statements(*one.document([UNKNOWN]))
            assert expected, str(one)
            for kind, value in accounts.theirs.items():
                if kind in PUBLIC.get(one.field, ()):
                    continue
                found = counted.statements(*one.document([value]))
                if len(found) != len(expected):
                    uneven.append((str(one), kind, found, expected))
    assert uneven == []


def test_pages_of_another_account_are_those_that_are_not(accounts: Accounts) -> None:
    services: Any = SimpleNamespace(database=None, storage=None, settings=Settings(), wake=None)
    routes = [one for one in web_routes(services) if isinstance(one, Route)]
    mallory = Visitor(accounts.mallory.address)
    mallory.sign_in("mallory")
    csrf = mallory.csrf("/models")

    def answer(method: str, path: str, value: str, **form: str) -> tuple[int, str]:
        url = f"{mallory.address}{path.replace('{id}', value)}"
        data = {"csrf": csrf, **form} if method == "POST" else None
        headers = {"Accept": "application/json"}  # the page of an error holds no more than its words
        response = mallory.client.request(method, url, data=data, headers=headers, timeout=30, allow_redirects=False)
        return response.status_code, shown(response.text, value)

    tried = [(method, one.path) for one in routes for method in one.methods or () if "{id}" in one.path]
    tried = [(method, path) for method, path in tried if method != "HEAD"]
    assert len(tried) > 15
    for method, path in tried:
        expected = answer(method, path, UNKNOWN)
        assert expected[0] in (400, 404), (path, expected)
        for kind, value in accounts.theirs.items():
            assert answer(method, path, value) == expected, (method, path, kind)
    own = accounts.own["model"]
    expected = answer("POST", f"/models/{own}/assign", UNKNOWN, pickle=UNKNOWN)
    for value in accounts.theirs.values():
        assert answer("POST", f"/models/{own}/assign", value, pickle=value) == expected, value
    of_uploads = [(method, path.replace("{id}", own)) for method, path in tried if "{filename}" in path]
    assert len(of_uploads) == 4
    for method, path in of_uploads:
        expected = answer(method, path.replace("{filename}", UNKNOWN), UNKNOWN)
        assert expected[0] == 404, (path, expected)
        for value in accounts.theirs.values():
            assert answer(method, path.replace("{filename}", value), value) == expected, (path, value)
    compared = {answer("GET", f"/diagnostics/compare?ids={one}", one) for one in (UNKNOWN, *accounts.theirs.values())}
    assert len(compared) == 1


def test_a_page_that_waits_hears_nothing_of_another_account_s_run(accounts: Accounts) -> None:
    mallory = Visitor(accounts.mallory.address)
    mallory.sign_in("mallory")
    heard = []
    for run in (UNKNOWN, accounts.theirs["trigger"]):
        stream = mallory.get(f"/live?from=999999999.0&run={run}", stream=True)
        lines = stream.iter_lines()
        heard.append([next(lines), next(lines)])
        stream.close()
    assert heard[0] == heard[1]


def test_tools_tell_agents_nothing_of_another_account(accounts: Accounts) -> None:
    async def try_all() -> None:
        async with (
            httpx2.AsyncClient(headers=accounts.mallory.headers) as http,
            Client(streamable_http_client(f"{accounts.mallory.address}/mcp", http_client=http)) as client,
        ):
            for tool in (await client.list_tools()).tools:
                properties = tool.input_schema["properties"]
                for reference in {"modelId", "pickleId", "triggerId", "diagnosticsId"} & properties.keys():
                    for operation in properties.get("operation", {}).get("enum", [None]):
                        arguments = {"operation": operation} if operation else {}
                        arguments |= {"filename": "never.pkl"} if operation == "create" else {}
                        await try_one(client, tool.name, reference, arguments)

    async def try_one(client: Client, tool: str, reference: str, arguments: dict[str, Any]) -> None:
        async def answer(value: str) -> str:
            result = await client.call_tool(tool, {**arguments, reference: value})
            text = "".join(getattr(one, "text", "") for one in result.content).replace(value, "ID")
            return re.sub(r"-\w{12}\.(pkl|csv)|signature=\w+|expires=\d+", "", text)

        expected = await answer(UNKNOWN)
        for kind in {reference.removesuffix("Id"), "pickle"}:
            if tool.startswith("get_model") and kind == "model":
                continue  # scores and profiles are public
            assert await answer(accounts.theirs[kind]) == expected, (tool, arguments, reference, kind)

    # In a thread, because a browser of other tests may keep a loop in this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, try_all()).result()
