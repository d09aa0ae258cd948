"""Server-sent events that notify a page of changes; its script then reloads the changed parts."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from predictd.db.models import Run, RunLog, RunStatus
from predictd.db.sessions import find_session
from predictd.domain.text import is_storable
from predictd.http.services import Services
from predictd.web.request import SESSION_COOKIE
from predictd.web.responses import secured

# Streams are short, so that a revoked session ends them and a shutdown is fast; browsers reconnect.
STREAM_SECONDS = 20.0
POLL_SECONDS = 0.5
MAX_STREAMS = 500
MAX_STREAMS_PER_ACCOUNT = 50
# The largest number that the database assigns to a row.
MAX_SEQUENCE = (1 << 31) - 1
# Changes of all accounts that one poll reads; a page that is further behind is notified at once.
MAX_BACKLOG = 2000


def events_route(services: Services) -> Route:
    """Return the route `/live?from=CURSOR`; `run=ID` limits the stream to one run and its log."""
    open_streams: Counter[str] = Counter()

    async def endpoint(request: Request) -> Response:
        cursor_text = request.headers.get("last-event-id") or request.query_params.get("from", "")
        cursor = _parse_cursor(cursor_text)
        run_id = request.query_params.get("run")
        if cursor is None or not is_storable(run_id or ""):
            return secured(JSONResponse({"error": "The cursor or the run is invalid. Reload the page."}, 400))
        account_id = await run_in_threadpool(_account_id, services, request)
        if account_id is None:
            return secured(JSONResponse({"error": "Your session is invalid or has expired. Sign in again."}, 401))
        if open_streams.total() >= MAX_STREAMS or open_streams[account_id] >= MAX_STREAMS_PER_ACCOUNT:
            return secured(JSONResponse({"error": "Too many pages are open. Close some and reload this page."}, 503))
        stream = changes(account_id, run_id, cursor)
        return secured(StreamingResponse(stream, media_type="text/event-stream"))

    async def changes(account_id: str, run_id: str | None, cursor: tuple[int, int]) -> AsyncIterator[str]:
        open_streams[account_id] += 1
        try:
            yield "retry: 300\n\n"
            end = time.monotonic() + STREAM_SECONDS
            while time.monotonic() < end:
                latest = await run_in_threadpool(_poll, services, account_id, run_id, cursor)
                if latest != cursor:
                    cursor = latest
                    yield f"id: {cursor[0]}.{cursor[1]}\ndata: changed\n\n"
                await asyncio.sleep(POLL_SECONDS)
        finally:
            open_streams[account_id] -= 1
            if not open_streams[account_id]:
                del open_streams[account_id]

    return Route("/live", endpoint, methods=["GET"])


def cursor_of(session: Session, run_id: str | None = None) -> str:
    """Return the cursor of a page that is rendered in this transaction."""
    status = session.scalar(sa.select(sa.func.max(RunStatus.sequence))) or 0
    line = _last_line(session, run_id) if run_id is not None else 0
    return f"{status}.{line}"


def _poll(services: Services, account_id: str, run_id: str | None, cursor: tuple[int, int]) -> tuple[int, int]:
    """Return the cursor after the latest change of the account, or of the run; unchanged if there is none."""
    status, line = cursor
    with services.database.read() as session:
        newest = session.scalar(sa.select(sa.func.max(RunStatus.sequence))) or 0
        if newest - status > MAX_BACKLOG:
            status = newest
        query = (
            sa.select(sa.func.max(RunStatus.sequence))
            .join(Run, Run.id == RunStatus.run_id)
            .where(RunStatus.sequence > status, Run.account_id == account_id)
        )
        if run_id is not None:
            query = query.where(Run.id == run_id)
            own_run = sa.select(Run.id).where(Run.id == run_id, Run.account_id == account_id)
            if session.scalar(own_run) is not None:
                line = max(line, _last_line(session, run_id))
        return max(status, session.scalar(query) or 0), line


def _last_line(session: Session, run_id: str) -> int:
    return session.scalar(sa.select(sa.func.max(RunLog.sequence)).where(RunLog.run_id == run_id)) or 0


def _account_id(services: Services, request: Request) -> str | None:
    with services.database.read() as session:
        web_session = find_session(session, request.cookies.get(SESSION_COOKIE, ""), datetime.now(UTC))
        return web_session.account_id if web_session is not None else None


def _parse_cursor(cursor: str) -> tuple[int, int] | None:
    status, _, line = cursor.partition(".")
    if not all(part.isascii() and part.isdecimal() and len(part) < 20 for part in (status, line)):
        return None
    numbers = int(status), int(line)
    return numbers if max(numbers) <= MAX_SEQUENCE else None
