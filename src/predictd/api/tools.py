"""The MCP server of this server: the same tools, answered by its own GraphQL without going through the network."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from predictd.mcp import Call, build_server

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


class _OneAnswer:
    """Ends the first answer where a second begins.

    When the server stops, the library leaves an SSE answer open and begins another one to the same request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        starts = 0

        async def send_first(message: Message) -> None:
            nonlocal starts
            begins = message["type"] == "http.response.start"
            starts += begins
            if starts == 1:
                await send(message)
            elif begins:
                await send({"type": "http.response.body", "body": b""})

        await self._app(scope, receive, send_first)


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
            *streamable.routes,
            Route("/mcp/sse", _OneAnswer(sse), methods=["GET"]),
            *(route for route in sse.routes if isinstance(route, Mount)),
        ]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer requests as long as this lasts."""
        async with self._server.session_manager.run():
            yield
