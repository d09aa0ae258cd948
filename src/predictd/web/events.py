"""Server-sent events that say that a page has changed; the page then loads itself and takes what is new."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator

import sqlalchemy as sa
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from predictd.api.app import Services
from predictd.db.models import Diagnostics, Pickle, Trigger, TriggerLog, TriggerStatus
from predictd.db.sessions import find_session
from predictd.domain.text import is_storable
from predictd.web.headers import secured
from predictd.web.visits import SESSION_COOKIE, Visit

# A stream is short, so that an ended session ends it and a stopping server need not wait; browsers connect again.
STREAM_SECONDS = 20.0
LOOK_SECONDS = 0.5
MOST_STREAMS = 500
MOST_OF_ACCOUNT = 50
# Of each number of a cursor: the largest that the database numbers its rows with.
MOST_NUMBER = (1 << 31) - 1
# Changes, of all accounts, that one look goes through; a page that is further behind is told that it has changed.
MOST_BEHIND = 2000


def live_route(services: Services) -> Route:
    """`/live?from=CURSOR`, with `run=ID` for one run and its log alone."""
    open_streams: Counter[str] = Counter()

    async def answer(request: Request) -> Response:
        asked = request.headers.get("last-event-id") or request.query_params.get("from", "")
        cursor = _parsed(asked)
        run_id = request.query_params.get("run")
        if cursor is None or not is_storable(run_id or ""):
            return secured(JSONResponse({"error": "The cursor or the run is invalid. Reload the page."}, 400))
        account_id = await run_in_threadpool(_account_id, services, request)
        if account_id is None:
            return secured(JSONResponse({"error": "Your session is invalid or has expired. Sign in again."}, 401))
        if open_streams.total() >= MOST_STREAMS or open_streams[account_id] >= MOST_OF_ACCOUNT:
            return secured(JSONResponse({"error": "Too many pages are open. Close some and reload this page."}, 503))
        stream = changes(account_id, run_id, cursor)
        return secured(StreamingResponse(stream, media_type="text/event-stream"))

    async def changes(account_id: str, run_id: str | None, cursor: tuple[int, int]) -> AsyncIterator[str]:
        open_streams[account_id] += 1
        try:
            yield "retry: 300\n\n"
            end = time.monotonic() + STREAM_SECONDS
            while time.monotonic() < end:
                found = await run_in_threadpool(_look, services, account_id, run_id, cursor)
                if found != cursor:
                    cursor = found
                    yield f"id: {cursor[0]}.{cursor[1]}\ndata: changed\n\n"
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            open_streams[account_id] -= 1
            if not open_streams[account_id]:
                del open_streams[account_id]

    return Route("/live", answer, methods=["GET"])


def cursor_of(session: Session, run_id: str | None = None) -> str:
    """Where a page that is made of this transaction stands, for its script to go on from."""
    status = session.scalar(sa.select(sa.func.max(TriggerStatus.sequence))) or 0
    line = _last_line(session, run_id) if run_id is not None else 0
    return f"{status}.{line}"


def _look(services: Services, account_id: str, run_id: str | None, cursor: tuple[int, int]) -> tuple[int, int]:
    """The newest change that concerns them after the cursor, or the cursor."""
    status, line = cursor
    with services.database.read() as session:
        newest = session.scalar(sa.select(sa.func.max(TriggerStatus.sequence))) or 0
        if newest - status > MOST_BEHIND:
            status = newest
        mine = sa.or_(Pickle.account_id == account_id, Diagnostics.account_id == account_id)
        query = (
            sa.select(sa.func.max(TriggerStatus.sequence))
            .join(Trigger, Trigger.id == TriggerStatus.trigger_id)
            .outerjoin(Pickle, Pickle.id == Trigger.pickle_id)
            .outerjoin(Diagnostics, Diagnostics.id == Trigger.diagnostics_id)
            .where(TriggerStatus.sequence > status, mine)
        )
        if run_id is not None:
            query = query.where(Trigger.id == run_id)
            is_own = sa.select(Trigger.id).outerjoin(Pickle, Pickle.id == Trigger.pickle_id)
            is_own = is_own.outerjoin(Diagnostics, Diagnostics.id == Trigger.diagnostics_id)
            if session.scalar(is_own.where(Trigger.id == run_id, mine)) is not None:
                line = max(line, _last_line(session, run_id))
        return max(status, session.scalar(query) or 0), line


def _last_line(session: Session, run_id: str) -> int:
    return session.scalar(sa.select(sa.func.max(TriggerLog.sequence)).where(TriggerLog.trigger_id == run_id)) or 0


def _account_id(services: Services, request: Request) -> str | None:
    with services.database.read() as session:
        visit = Visit(request=request, services=services, session=session, form={})
        begun = find_session(session, request.cookies.get(SESSION_COOKIE, ""), visit.now)
        return begun.account_id if begun is not None else None


def _parsed(cursor: str) -> tuple[int, int] | None:
    status, _, line = cursor.partition(".")
    if not all(part.isascii() and part.isdecimal() and len(part) < 20 for part in (status, line)):
        return None
    numbers = int(status), int(line)
    return numbers if max(numbers) <= MOST_NUMBER else None
