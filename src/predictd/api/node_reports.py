"""Reports of the nodes of a cluster about their runs."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from predictd.cluster.node.heartbeat import AUTHORIZATION, BATCH, DROPPED_BYTES, MAX_BATCH_BYTES, NODE
from predictd.db import Database
from predictd.domain.errors import ForbiddenTransferError
from predictd.domain.text import is_storable
from predictd.worker.node_runs import record_report

_MAX_NUMBER = 1 << 31
_MAX_CUT_BYTES = 1 << 40


def node_routes(database: Database, kept_bytes: int) -> list[Route]:
    """Return the route of node reports; `kept_bytes` of the log of a run are stored."""

    async def report(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BATCH_BYTES:
                return PlainTextResponse("The report is too large.\n", 413)
        return await run_in_threadpool(store, request, bytes(body))

    def store(request: Request, body: bytes) -> Response:
        token = request.headers.get(AUTHORIZATION, "").removeprefix("Bearer ")
        try:
            attempt = _number(str(request.path_params["attempt"]), _MAX_NUMBER)
            batch = _number(request.headers.get(BATCH, ""), _MAX_NUMBER)
            cut = _number(request.headers.get(DROPPED_BYTES, ""), _MAX_CUT_BYTES)
            run = str(request.path_params["run"])
            if not is_storable(run):
                raise ValueError(run)
        except ValueError:
            return PlainTextResponse("The body is not a valid node report.\n", 400)
        try:
            with database.write() as session:
                is_accepted = record_report(
                    session,
                    run,
                    attempt,
                    token,
                    node=request.headers.get(NODE, ""),
                    log_batch=batch,
                    body=body,
                    dropped_bytes=cut,
                    max_log_bytes=kept_bytes,
                )
        except ForbiddenTransferError as error:
            return PlainTextResponse(f"{error.message}\n", 403)
        if not is_accepted:
            return PlainTextResponse("This attempt has ended.\n", 410)
        return Response(status_code=204)

    return [Route("/nodes/runs/{run}/{attempt}", report, methods=["POST"])]


def _number(text: str, limit: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < limit):
        raise ValueError(text)
    return int(text)
