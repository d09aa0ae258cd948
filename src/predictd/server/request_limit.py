"""Limits of concurrent requests per client, so that no client occupies all threads."""

from dataclasses import dataclass, field

from anyio import CapacityLimiter
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from predictd.domain.ip_addresses import client_key
from predictd.server.connections import PROBES

# Half of the server's threads. Further requests of the same address wait without a thread.
MAX_CONCURRENT = 32
MAX_PER_ADDRESS = 256
# Long-lived requests that use no request thread and have their own limits.
_STREAMS = ("/files", "/live", "/mcp/sse")
_PROBES = tuple(path.decode() for path in PROBES)


@dataclass
class _Client:
    limiter: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(MAX_CONCURRENT))
    requests: int = 0


class RequestLimiter:
    """ASGI middleware that serves `MAX_CONCURRENT` requests of an address at once and accepts `MAX_PER_ADDRESS`.

    The address is that of the client, also behind a trusted proxy. Requests over the limit are refused with 429.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._clients: dict[str, _Client] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request when the limit allows."""
        if scope["type"] != "http" or scope["path"] in _PROBES:
            await self._app(scope, receive, send)
            return
        address = client_key(scope["client"][0]) if scope.get("client") else ""
        client = self._clients.setdefault(address, _Client())
        if client.requests >= MAX_PER_ADDRESS:
            await _refuse(scope, receive, send)
            return
        client.requests += 1
        try:
            if scope["path"].startswith(_STREAMS):
                await self._app(scope, receive, send)
            else:
                async with client.limiter:
                    await self._app(scope, receive, send)
        finally:
            client.requests -= 1
            if not client.requests:
                self._clients.pop(address, None)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    response = PlainTextResponse(
        f"Your address has {MAX_PER_ADDRESS} requests in progress, which is the limit. Wait for some of them.\n",
        429,
        headers={"Connection": "close", "Retry-After": "5"},
    )
    await response(scope, receive, send)
