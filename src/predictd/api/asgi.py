"""The ASGI application."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.resources import files
from typing import Any

import structlog
from anyio import to_thread
from ariadne import load_schema_from_path, make_executable_schema
from graphql import GraphQLSchema
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionInTime
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from predictd import __version__
from predictd.api.graphql.endpoint import UNAVAILABLE, Endpoint, is_unavailable
from predictd.api.graphql.query_limits import SLOW_FIELDS
from predictd.api.graphql.resolvers import BINDABLES
from predictd.api.graphql.scalars import SCALARS, check_texts, widen_int
from predictd.api.mcp_mount import McpEndpoint
from predictd.api.metrics import metrics_route
from predictd.api.node_reports import node_routes
from predictd.api.transfers import transfer_routes
from predictd.db.audit import Actor, act_as
from predictd.db.retry import is_outage
from predictd.domain.errors import OutageError
from predictd.http.client_limiter import ClientLimiter
from predictd.http.context import Context
from predictd.http.middleware import RequestLogMiddleware
from predictd.http.multipart import BodyLimitMiddleware
from predictd.http.services import Services, base_url, client_address
from predictd.monitoring.health import find_unready
from predictd.uploads.byte_metering import ByteMeter

log = structlog.get_logger()

# More than a client sends: a document, its variables, or a batch of log lines of a node.
MAX_BODY_BYTES = 384 * 1024
SCHEMA_PATH = str(files("predictd.api.graphql") / "schema.graphql")
# Extensions of the contract.
EXTENSIONS_PATH = str(files("predictd.api.graphql") / "extensions")

WELCOME = f"""predictd {__version__}

This server implements the Numerai Model Uploads API: POST GraphQL to / or /graphql.
With numerapi: numerapi.base_api.API_TOURNAMENT_URL = "http://HOST:PORT"
Open it in a browser to manage models, runs, and diagnostics, and to see the leaderboard.
AI agents connect with MCP at /mcp (streamable HTTP) and /mcp/sse (SSE).
"""


def build_schema() -> GraphQLSchema:
    """Return the schema of the contract and its extensions, with resolvers."""
    definitions = [load_schema_from_path(path) for path in (SCHEMA_PATH, EXTENSIONS_PATH)]
    schema = make_executable_schema(definitions, *BINDABLES, *SCALARS)
    widen_int(schema)
    check_texts(schema)
    return schema


def build_app(
    services: Services,
    lifespan: Callable[[], AbstractAsyncContextManager[None]] | None = None,
    pages: Sequence[BaseRoute] = (),
) -> Starlette:
    """Return the application. `lifespan` starts and stops background services; `pages` are the routes of web pages."""
    endpoint = Endpoint(build_schema())
    # Slow fields have threads of their own, so that they never block other requests.
    slow_limiters = {field: ClientLimiter(limit, limit // 2) for field, limit in SLOW_FIELDS.items()}

    async def graphql(request: Request) -> Response:
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > MAX_BODY_BYTES:
            return _error_response(413, f"The request has {length[:20]} bytes. Send at most {MAX_BODY_BYTES}.")
        try:
            body = await request.json()
        except (ValueError, UnicodeDecodeError, RecursionError):
            return _error_response(400, 'The body is not valid JSON. POST {"query": "...", "variables": {...}}.')
        authorization = request.headers.get("authorization", "")
        result = await run_in_threadpool(execute_unless_slow, request, authorization, body)
        if isinstance(result, str):
            limiter = slow_limiters[result]
            async with limiter.client(client_address(request)):
                result = await to_thread.run_sync(execute, request, authorization, body, limiter=limiter.total)
        # Clients retry after a 5xx status, but not after errors in a 200 response.
        return JSONResponse(result, status_code=503 if is_unavailable(result) else 200)

    def execute_unless_slow(request: Request, authorization: str, body: object) -> dict[str, Any] | str:
        return endpoint.slow_field(body) or execute(request, authorization, body)

    def execute(request: Request, authorization: str, body: object) -> dict[str, Any]:
        with services.database.read() as session:
            context = Context(
                services=services,
                storage=services.storage.with_base_url(base_url(request, services.settings)),
                session=session,
                authorization=authorization,
                client_address=client_address(request),
            )
            way = "mcp" if request.url.path.startswith("/mcp") else "api"
            with act_as(
                Actor(interface=way, at=context.now, account=context.current_account, address=context.client_address)
            ):
                return endpoint.execute(body, context)

    async def health(request: Request) -> Response:
        # On the event loop, so that it responds even if every thread is busy.
        return PlainTextResponse("ok\n")

    def ready(request: Request) -> Response:
        if services.is_stopping():
            return PlainTextResponse("stopping\n", 503)
        failing = find_unready(services.database, services.storage)
        if failing:
            return PlainTextResponse("".join(f"{check.name}: {check.message}\n" for check in failing), 503)
        return PlainTextResponse("ready\n")

    def welcome(request: Request) -> Response:
        if pages and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("/models", 303)
        return PlainTextResponse(WELCOME)

    mcp = McpEndpoint(execute, MAX_BODY_BYTES)

    @asynccontextmanager
    async def run_lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with mcp.running():
            if lifespan is None:
                yield
                return
            async with lifespan():
                yield

    byte_meter = ByteMeter(database=services.database, storage=services.storage, quotas=services.settings.quotas)
    routes = [
        Route("/", graphql, methods=["POST"]),
        Route("/graphql", graphql, methods=["POST"]),
        Route("/", welcome, methods=["GET"]),
        Route("/healthz", health, methods=["GET"]),
        Route("/readyz", ready, methods=["GET"]),
        metrics_route(services.settings, services.database, services.vitals),
        *mcp.routes,
        *transfer_routes(services.storage, byte_meter),
        *node_routes(services.database, services.settings.limits.log_kept_bytes),
        *pages,
    ]
    error_handlers = dict.fromkeys((DBAPIError, NoConnectionInTime, OutageError), _unavailable_response)
    request_log = Middleware(RequestLogMiddleware, routes=routes)
    body_limit = Middleware(BodyLimitMiddleware, max_bytes=MAX_BODY_BYTES)
    return Starlette(
        routes=routes, lifespan=run_lifespan, middleware=[request_log, body_limit], exception_handlers=error_handlers
    )


def _unavailable_response(_request: Request, error: Exception) -> Response:
    """Return 503 if the database or the storage is unavailable."""
    if not is_outage(error) and not isinstance(error, OutageError):
        raise error
    log.warning("unavailable", error=str(error).splitlines()[0][:300])
    return PlainTextResponse(f"{UNAVAILABLE}\n", 503, headers={"Retry-After": "5"})


def _error_response(status: int, message: str) -> Response:
    return JSONResponse({"data": None, "errors": [{"message": message}]}, status_code=status)
