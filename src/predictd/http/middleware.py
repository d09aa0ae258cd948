"""What is counted and logged of requests: one line each, by the route and never by the address, which holds secrets."""

import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from predictd import prometheus

log = structlog.get_logger()

HEADER = b"x-request-id"
NONE = "none"
_SANE = re.compile(rb"[A-Za-z0-9._-]{8,64}")
# Asked every few seconds by programs.
_QUIET = ("/healthz", "/readyz", "/metrics", "/assets/{name}", "/live")
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


@dataclass
class _Passed:
    """What went through."""

    status: int = 500
    received: int = 0
    sent: int = 0


class Observed:
    """Gives every request an id, which its lines in the log and its answer carry, and counts it.

    An id that came with the request (`X-Request-Id`) is taken over, so that it can be followed through a proxy.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._paths = {id(one.endpoint): one.path for one in routes if isinstance(one, Route)}
        self._mounts = [one.path for one in routes if isinstance(one, Mount)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        passed, started = _Passed(), time.perf_counter()
        request_id = _request_id(scope)

        async def receiving() -> Message:
            message = await receive()
            passed.received += len(message.get("body", b""))
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                passed.status = message["status"]
                message.setdefault("headers", [])
                message["headers"] = [*message["headers"], (HEADER, request_id.encode())]
            passed.sent += len(message.get("body", b""))
            await send(message)

        with bound_contextvars(request=request_id):
            try:
                await self._app(scope, receiving, sending)
            except Exception:
                log.exception("request_failed", method=scope["method"], route=self._route(scope))
                raise
            finally:
                self._count(scope, passed, time.perf_counter() - started)

    def _count(self, scope: Scope, passed: _Passed, seconds: float) -> None:
        route = self._route(scope)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        prometheus.REQUESTS.labels(method, route, str(passed.status)).inc()
        prometheus.REQUEST_SECONDS.labels(method, route).observe(seconds)
        if passed.received:
            prometheus.RECEIVED_BYTES.labels(route).inc(passed.received)
        if passed.sent:
            prometheus.SENT_BYTES.labels(route).inc(passed.sent)
        tell = log.debug if route in _QUIET and passed.status < 500 else log.info
        tell("request", method=method, route=route, status=passed.status, milliseconds=round(seconds * 1000, 1))

    def _route(self, scope: Scope) -> str:
        """The route's own path, with names in place of values: few, whatever clients ask for."""
        path = self._paths.get(id(scope.get("endpoint")))
        if path is not None:
            return path
        return next((one for one in self._mounts if scope["path"].startswith(one)), NONE)


def _request_id(scope: Scope) -> str:
    given = next((value for name, value in scope["headers"] if name == HEADER), b"")
    return given.decode() if _SANE.fullmatch(given) else secrets.token_hex(8)
