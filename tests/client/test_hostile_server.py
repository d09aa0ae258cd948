"""What a hostile server sends is printed, and steers nothing of the terminal that it is printed on."""

import json
import os
import pty
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from graphql import GraphQLEnumType, GraphQLObjectType, get_named_type, get_nullable_type, graphql_sync, is_list_type

from conftest import PREDICTD
from predictd.api.asgi import build_schema

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\b\rdone[bold]x[/bold][link=https://example.org]y[/link]:warning:"
SHOWN = "done[bold]x[/bold][link=https://example.org]y[/link]:warning:"
STEERING = ("\x1b]0", "\x1b]8", "\x07", "\x1b[2J", "\x9b", "\b", "\rdone")
VALUES = {"Int": 1, "Float": 0.5, "Boolean": True, "Time": "2026-01-06T13:00:00Z", "Date": "2026-01-06"}
SCHEMA = build_schema()
for scalar in ("Time", "Date", "Nmr"):
    SCHEMA.type_map[scalar].coerce_output_value = str  # type: ignore[attr-defined]


def hostile_value(_source: Any, info: Any, **_arguments: Any) -> Any:
    """A value of the field's type, whose texts are all hostile."""
    wanted = get_nullable_type(info.return_type)
    kind = get_named_type(wanted)
    value: Any = VALUES.get(kind.name, HOSTILE)
    if isinstance(kind, GraphQLEnumType):
        value = next(iter(kind.values))
    elif isinstance(kind, GraphQLObjectType):
        value = {}
    return [value] if is_list_type(wanted) else value


class HostileServer(BaseHTTPRequestHandler):
    """Answers every document of the contract with what steers terminals; each other request with an error."""

    refuses = False

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer: dict[str, Any] = {"data": None, "errors": [{"message": HOSTILE, "extensions": {"code": HOSTILE}}]}
        if not type(self).refuses:
            variables = asked.get("variables")
            for type_ in SCHEMA.type_map.values():
                for field in getattr(type_, "fields", {}).values():
                    if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__"):
                        field.resolve = hostile_value
            result = graphql_sync(SCHEMA, asked["query"], variable_values=variables)
            answer = {"data": result.data} if result.data is not None else answer
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), HostileServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def on_a_terminal(address: str, *arguments: str) -> str:
    """What a terminal gets to see of the command, its own sequences of styles included."""
    control, terminal = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREDICTD_", "NUMERAI"))}
    environment |= {"PREDICTD_SERVER": address, "PREDICTD_TOKEN": "A$B", "COLUMNS": "4000", "TERM": "xterm"}
    process = subprocess.Popen(
        [PREDICTD, *arguments], stdin=terminal, stdout=terminal, stderr=terminal, env=environment, close_fds=True
    )
    os.close(terminal)
    seen = b""
    while True:
        try:
            chunk = os.read(control, 1 << 16)
        except OSError:  # the command has ended
            break
        if not chunk:
            break
        seen += chunk
    os.close(control)
    process.wait(60)
    return seen.decode("utf-8", "surrogateescape").replace("\r\n", "\n")


@pytest.mark.parametrize("refuses", [False, True], ids=["data", "errors"])
@pytest.mark.parametrize(
    "command",
    ["list", "status m", "logs m", "run-now m", "assign m p", "unassign m", "rollback m", "fallback m", "record t"],
)
def test_nothing_that_a_server_sends_steers_the_terminal(address: str, command: str, refuses: bool) -> None:
    HostileServer.refuses = refuses
    seen = on_a_terminal(address, *command.split())
    assert [one for one in STEERING if one in seen] == [], seen
    if refuses or command in ("list", "status m", "logs m"):
        assert SHOWN in seen
