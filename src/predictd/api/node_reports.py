"""What nodes of the cluster report of the runs that they carry out."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from predictd.cluster.node.heartbeat import AUTHORIZATION, BATCH, CUT, MOST_BYTES, NODE
from predictd.db import Database
from predictd.domain.errors import ForbiddenTransferError
from predictd.domain.text import is_storable
from predictd.worker.node_runs import take_report

_MOST_COUNTED = 1 << 31
_MOST_CUT_BYTES = 1 << 40


def node_routes(database: Database, kept_bytes: int) -> list[Route]:
    """The route that orders name; `kept_bytes` of a run's log are kept."""

    async def report(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BYTES:
                return PlainTextResponse("The report is too large.\n", 413)
        return await run_in_threadpool(take, request, bytes(body))

    def take(request: Request, body: bytes) -> Response:
        token = request.headers.get(AUTHORIZATION, "").removeprefix("Bearer ")
        try:
            attempt = _number(str(request.path_params["attempt"]), _MOST_COUNTED)
            batch = _number(request.headers.get(BATCH, ""), _MOST_COUNTED)
            cut = _number(request.headers.get(CUT, ""), _MOST_CUT_BYTES)
            trigger = str(request.path_params["trigger"])
            if not is_storable(trigger):
                raise ValueError(trigger)
        except ValueError:
            return PlainTextResponse("The body is not a valid node report.\n", 400)
        try:
            with database.write() as session:
                is_taken = take_report(
                    session,
                    trigger,
                    attempt,
                    token,
                    node=request.headers.get(NODE, ""),
                    batch=batch,
                    body=body,
                    cut_bytes=cut,
                    kept_bytes=kept_bytes,
                )
        except ForbiddenTransferError as error:
            return PlainTextResponse(f"{error.message}\n", 403)
        if not is_taken:
            return PlainTextResponse("This attempt has ended.\n", 410)
        return Response(status_code=204)

    return [Route("/nodes/runs/{trigger}/{attempt}", report, methods=["POST"])]


def _number(text: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < most):
        raise ValueError(text)
    return int(text)
