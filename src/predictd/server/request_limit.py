"""How many requests of one client are served at once, so that no client takes all threads."""

from dataclasses import dataclass, field

from anyio import CapacityLimiter
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from predictd.domain.addresses import client_key
from predictd.server.connections import PROBES

# Half of the server's threads. More requests of the same address wait for their turn, without a thread.
AT_ONCE = 32
MOST_OF_ADDRESS = 256
# They last as long as a client wants and take no thread of the requests; they have limits of their own.
_STREAMS = ("/files", "/live", "/mcp/sse")
_PROBES = tuple(path.decode() for path in PROBES)


@dataclass
class _Client:
    limiter: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(AT_ONCE))
    requests: int = 0


class Turns:
    """The application, with at most `AT_ONCE` requests of a client's address in progress and `MOST_OF_ADDRESS` in all.

    The address is that of the client behind a trusted proxy. Requests over the limit are refused with 429.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._clients: dict[str, _Client] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request when it is its turn."""
        if scope["type"] != "http" or scope["path"] in _PROBES:
            await self._app(scope, receive, send)
            return
        address = client_key(scope["client"][0]) if scope.get("client") else ""
        client = self._clients.setdefault(address, _Client())
        if client.requests >= MOST_OF_ADDRESS:
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
        f"Your address has {MOST_OF_ADDRESS} requests in progress, which is the limit. Wait for some of them.\n",
        429,
        headers={"Connection": "close", "Retry-After": "5"},
    )
    await response(scope, receive, send)
