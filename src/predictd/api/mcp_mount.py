"""The MCP server: tools that call the GraphQL endpoint in this process."""

import json
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from anyio import CancelScope, current_time
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from predictd.domain.ip_addresses import client_key
from predictd.http.client_limiter import ClientLimiter
from predictd.mcp import Call, build_server

MAX_SESSIONS = 256
MAX_SESSIONS_PER_CLIENT = 32
MAX_IDLE_SECONDS = 3600.0
# Requests of one client's sessions, and of all sessions, that have no response yet. The library accepts any number of
# them and stores each until the client has read the response.
MAX_PENDING_PER_CLIENT = 8
MAX_PENDING = 24
PENDING_SECONDS = 300.0
MAX_MESSAGE_BYTES = 64 * 1024
# Messages of streamable HTTP at once, of all clients and of one.
MAX_CALLS = 24
MAX_CALLS_PER_CLIENT = 8
_SESSION_ID = re.compile(rb"session_id=([0-9a-f]{32})")
_END: Message = {"type": "http.response.body", "body": b"", "more_body": False}

Execute = Callable[[Request, str, object], dict[str, Any]]
"""Executes a GraphQL request, given the HTTP request, its Authorization header, and its body."""


class _Backend:
    how_to_authorize = (
        "Put the header 'Authorization: Token PUBLIC_ID$SECRET_KEY' into the configuration of this MCP server, or give "
        "the tool the parameter apiToken (PUBLIC_ID$SECRET_KEY). Ask the user for a token; never guess one."
    )

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    def execute(self, query: str, variables: dict[str, Any], call: Call) -> dict[str, Any]:
        # Every message has its own token; sessions have none that could be stolen.
        header = call.token.header if call.token else call.request.headers.get("authorization", "")
        return self._execute(call.request, header, {"query": query, "variables": variables})


@dataclass(eq=False)
class _Session:
    client: str
    id: str = ""
    # When its requests without a response arrived.
    pending: deque[float] = field(default_factory=deque)
    scope: CancelScope = field(default_factory=CancelScope)
    is_started: bool = False
    is_ended: bool = False


class _Sessions:
    """The SSE sessions: connections that anybody can open and that last until the client closes them.

    Above `MAX_SESSIONS` in total or `MAX_SESSIONS_PER_CLIENT`, the session that has been idle for the longest time is
    closed, as is every session that has been idle for `MAX_IDLE_SECONDS`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        # The longest idle session first.
        self._open: dict[_Session, None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one session until it ends."""
        session = _Session(client_key(scope["client"][0]) if scope.get("client") else "")
        same_client = [other for other in self._open if other.client == session.client]
        if len(same_client) >= MAX_SESSIONS_PER_CLIENT:
            self._end(same_client[0])
        elif len(self._open) >= MAX_SESSIONS:
            self._end(next(iter(self._open)))
        self._note_event(session)

        async def send_once(message: Message) -> None:
            # On shutdown, the library leaves the response open and starts another one for the same request.
            if session.is_ended:
                return
            if message["type"] == "http.response.start":
                if session.is_started:
                    session.is_ended = True
                    message = _END
                session.is_started = True
            else:
                session.is_ended = not message.get("more_body", False)
                body = message.get("body", b"")
                # Keep-alive comments begin with a colon.
                if body[:1] not in (b"", b":"):
                    self._note_event(session)
                # The first event has the address for messages.
                if not session.id and (address := _SESSION_ID.search(body)):
                    session.id = address[1].decode()
            await send(message)
            if message.get("body", b"").startswith(b"event: message"):
                with suppress(IndexError):
                    session.pending.popleft()

        try:
            with session.scope:
                await self._app(scope, receive, send_once)
            if session.is_started and not session.is_ended:
                await send(_END)
        finally:
            self._open.pop(session, None)

    def begin_request(self, session_id: str) -> bool:
        """Count a request of that session; return False, and count nothing, if too many have no response yet."""
        session = next((session for session in self._open if session.id == session_id), None)
        if session is None:
            return True
        for other in self._open:
            # A request that its client cancels gets no response. A client that reads none is cut long before.
            while other.pending and other.pending[0] < current_time() - PENDING_SECONDS:
                other.pending.popleft()
        pending_of_client = sum(len(other.pending) for other in self._open if other.client == session.client)
        if (
            pending_of_client >= MAX_PENDING_PER_CLIENT
            or sum(len(other.pending) for other in self._open) >= MAX_PENDING
        ):
            return False
        session.pending.append(current_time())
        return True

    def _note_event(self, session: _Session) -> None:
        session.scope.deadline = current_time() + MAX_IDLE_SECONDS
        self._open.pop(session, None)
        self._open[session] = None

    def _end(self, session: _Session) -> None:
        self._open.pop(session, None)
        session.scope.cancel()


class _Streamable:
    """The messages of streamable HTTP, limited because tools use the threads of all requests."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._limiter = ClientLimiter(MAX_CALLS, MAX_CALLS_PER_CLIENT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a message, whose body is read before it counts toward the limit."""
        request = Request(scope, receive)
        body = await request.body()
        async with self._limiter.client(scope["client"][0] if scope.get("client") else ""), self._limiter.total:
            await self._app(scope, _replayed(body, receive), send)


class _Messages:
    """The messages of the SSE sessions, with a limited number of pending requests."""

    def __init__(self, app: ASGIApp, sessions: _Sessions) -> None:
        self._app = app
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the message to its session, or respond with 429."""
        request = Request(scope, receive)
        body = await request.body()
        session_id = request.query_params.get("session_id", "").replace("-", "").lower()
        if _is_request(body) and not self._sessions.begin_request(session_id):
            text = "Too many requests of your sessions have no response yet. Read the responses, then try again.\n"
            headers = {"Connection": "close", "Retry-After": "5"}
            await PlainTextResponse(text, 429, headers=headers)(scope, receive, send)
            return
        await self._app(scope, _replayed(body, receive), send)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a function that receives the body first, which has been read already."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _is_request(body: bytes) -> bool:
    """Whether a message gets a response in its session."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(message, dict) and "method" in message and "id" in message


class McpEndpoint:
    """Streamable HTTP at /mcp and SSE at /mcp/sse."""

    def __init__(self, execute: Execute, max_body_bytes: int) -> None:
        self._server = build_server(_Backend(execute))
        # DNS rebinding gains nothing: every call needs a token, which browsers do not send by themselves.
        security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        streamable = self._server.streamable_http_app(
            streamable_http_path="/mcp",
            stateless_http=True,
            transport_security=security,
            max_request_body_size=max_body_bytes,
        )
        sse = self._server.sse_app(
            sse_path="/mcp/sse",
            message_path="/mcp/messages/",
            transport_security=security,
            max_request_body_size=MAX_MESSAGE_BYTES,
        )
        sessions = _Sessions(sse)
        self.routes: list[BaseRoute] = [
            # No GET: it would open a stream of server messages, of which there are none.
            *(
                Route("/mcp", _Streamable(route.endpoint), methods=["POST"])
                for route in streamable.routes
                if isinstance(route, Route)
            ),
            Route("/mcp/sse", sessions, methods=["GET"]),
            *(Mount(route.path, _Messages(route.app, sessions)) for route in sse.routes if isinstance(route, Mount)),
        ]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Handle requests within this context."""
        async with self._server.session_manager.run():
            yield
