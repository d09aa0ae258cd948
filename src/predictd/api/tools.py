"""The MCP server of this server: the same tools, answered by its own GraphQL without going through the network."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from anyio import CancelScope, current_time
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from predictd.domain.addresses import client_key
from predictd.mcp import Call, build_server

MOST_SESSIONS = 256
MOST_OF_CLIENT = 32
SILENT_SECONDS = 3600.0
_END: Message = {"type": "http.response.body", "body": b"", "more_body": False}

Answer = Callable[[Request, str, object], dict[str, Any]]
"""Answers the body of a GraphQL request, given the HTTP request that it came by and its header Authorization."""


class _Backend:
    how_to_authorise = (
        "Put the header 'Authorization: Token PUBLIC_ID$SECRET_KEY' into the configuration of this MCP server, or give "
        "the tool the parameter apiToken (PUBLIC_ID$SECRET_KEY). Ask the user for a token; never guess one."
    )

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def execute(self, query: str, variables: dict[str, Any], call: Call) -> dict[str, Any]:
        # The token is that of this one message. Sessions have none, so that none can be taken over.
        header = call.token.header if call.token else call.request.headers.get("authorization", "")
        return self._answer(call.request, header, {"query": query, "variables": variables})


@dataclass(eq=False)
class _Session:
    client: str
    scope: CancelScope = field(default_factory=CancelScope)
    is_started: bool = False
    is_ended: bool = False


class _Sessions:
    """The SSE sessions. Each is a connection that anybody may open and that lasts until the client closes it.

    So there are `MOST_SESSIONS` of all clients and `MOST_OF_CLIENT` of one. If there are more, the session that has
    been silent for the longest time is ended, as is one that has been silent for `SILENT_SECONDS`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        # The one that has been silent for the longest time first.
        self._open: dict[_Session, None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one session until it ends."""
        session = _Session(client_key(scope["client"][0]) if scope.get("client") else "")
        own = [other for other in self._open if other.client == session.client]
        if len(own) >= MOST_OF_CLIENT:
            self._end(own[0])
        elif len(self._open) >= MOST_SESSIONS:
            self._end(next(iter(self._open)))
        self._note_event(session)

        async def send_once(message: Message) -> None:
            # When the server stops, the library leaves the response open and begins another one to the same request.
            if session.is_ended:
                return
            if message["type"] == "http.response.start":
                if session.is_started:
                    session.is_ended = True
                    message = _END
                session.is_started = True
            else:
                session.is_ended = not message.get("more_body", False)
                # A comment, with which the library only keeps the connection open, begins with a colon.
                if message.get("body", b"")[:1] not in (b"", b":"):
                    self._note_event(session)
            await send(message)

        try:
            with session.scope:
                await self._app(scope, receive, send_once)
            if session.is_started and not session.is_ended:
                await send(_END)
        finally:
            self._open.pop(session, None)

    def _note_event(self, session: _Session) -> None:
        session.scope.deadline = current_time() + SILENT_SECONDS
        self._open.pop(session, None)
        self._open[session] = None

    def _end(self, session: _Session) -> None:
        self._open.pop(session, None)
        session.scope.cancel()


class McpEndpoint:
    """Streamable HTTP at /mcp and SSE at /mcp/sse."""

    def __init__(self, answer: Answer, max_body_bytes: int) -> None:
        self._server = build_server(_Backend(answer))
        # A page that rebinds its name to this address gets no further than one that calls the API by its own: what
        # counts is the token of each call, which no browser sends by itself. So every name of the server is good.
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
            max_request_body_size=max_body_bytes,
        )
        self.routes: list[BaseRoute] = [
            # A GET would open a stream of what the server has to say by itself, which is nothing.
            *(
                Route("/mcp", route.endpoint, methods=["POST"])
                for route in streamable.routes
                if isinstance(route, Route)
            ),
            Route("/mcp/sse", _Sessions(sse), methods=["GET"]),
            *(route for route in sse.routes if isinstance(route, Mount)),
        ]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer requests as long as this lasts."""
        async with self._server.session_manager.run():
            yield
