"""Request ids, metrics, and one log line per request, by route and never by URL, which can contain secrets."""

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
NO_ROUTE = "none"
_VALID_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
# Polled every few seconds.
_QUIET = ("/healthz", "/readyz", "/metrics", "/assets/{name}", "/live")
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


@dataclass
class _Traffic:
    """Status and size of one request."""

    status: int = 500
    received: int = 0
    sent: int = 0


class RequestLogMiddleware:
    """Adds an id to the log lines and the response of each request, and counts the request.

    An id in the request header `X-Request-Id` is used, so that a request can be followed through a proxy.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._paths = {id(route.endpoint): route.path for route in routes if isinstance(route, Route)}
        self._mounts = [route.path for route in routes if isinstance(route, Mount)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        traffic, started = _Traffic(), time.perf_counter()
        request_id = _request_id(scope)

        async def counting_receive() -> Message:
            message = await receive()
            traffic.received += len(message.get("body", b""))
            return message

        async def counting_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                traffic.status = message["status"]
                message.setdefault("headers", [])
                message["headers"] = [*message["headers"], (HEADER, request_id.encode())]
            traffic.sent += len(message.get("body", b""))
            await send(message)

        with bound_contextvars(request=request_id):
            try:
                await self._app(scope, counting_receive, counting_send)
            except Exception:
                log.exception("request_failed", method=scope["method"], route=self._route(scope))
                raise
            finally:
                self._count(scope, traffic, time.perf_counter() - started)

    def _count(self, scope: Scope, traffic: _Traffic, seconds: float) -> None:
        route = self._route(scope)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        prometheus.REQUESTS.labels(method, route, str(traffic.status)).inc()
        prometheus.REQUEST_SECONDS.labels(method, route).observe(seconds)
        if traffic.received:
            prometheus.RECEIVED_BYTES.labels(route).inc(traffic.received)
        if traffic.sent:
            prometheus.SENT_BYTES.labels(route).inc(traffic.sent)
        write_log = log.debug if route in _QUIET and traffic.status < 500 else log.info
        write_log("request", method=method, route=route, status=traffic.status, milliseconds=round(seconds * 1000, 1))

    def _route(self, scope: Scope) -> str:
        """Return the path pattern of the route, so that the number of labels is bounded."""
        path = self._paths.get(id(scope.get("endpoint")))
        if path is not None:
            return path
        return next((mount for mount in self._mounts if scope["path"].startswith(mount)), NO_ROUTE)


def _request_id(scope: Scope) -> str:
    request_id = next((value for name, value in scope["headers"] if name == HEADER), b"")
    return request_id.decode() if _VALID_ID.fullmatch(request_id) else secrets.token_hex(8)
