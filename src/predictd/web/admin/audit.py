"""Admin page of the audit log."""

from datetime import UTC, datetime, timedelta

from starlette.responses import Response
from starlette.routing import Route

from predictd.db.audit import ACTIONS
from predictd.db.audit_entries import AuditFilter, list_entries
from predictd.domain.errors import InvalidInputError
from predictd.http.services import Services
from predictd.web.admin.permissions import admin_page
from predictd.web.request import PageRequest

MAX_ROWS = 100
WAYS = ("web", "api", "mcp", "command line")


def audit_routes(services: Services) -> list[Route]:
    """Return the routes of this page."""
    return [admin_page(services, "/admin/audit", show_audit)]


def show_audit(request: PageRequest) -> Response:
    """Show the entries that match the filters, newest first."""
    offset = request.offset
    filters = {name: request.query_param(name).strip() for name in ("who", "action", "about", "way", "since", "until")}
    query = AuditFilter(
        who=filters["who"],
        action=filters["action"],
        about=filters["about"],
        interface=filters["way"],
        since=_start_of_day(filters["since"]),
        before=_end_of_day(filters["until"]),
    )
    entries = list_entries(request.session, query, limit=MAX_ROWS + 1, offset=offset)
    return request.render(
        "admin/audit.html",
        entries=entries[:MAX_ROWS],
        filters=filters,
        actions=ACTIONS,
        ways=WAYS,
        previous_offset=max(offset - MAX_ROWS, 0) if offset else None,
        next_offset=offset + MAX_ROWS if len(entries) > MAX_ROWS else None,
    )


def _start_of_day(text: str) -> datetime | None:
    """Return the start of a day in UTC."""
    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidInputError(f"{text[:32]!r} is not a date. Write dates as YYYY-MM-DD.") from error


def _end_of_day(text: str) -> datetime | None:
    """Return the end of a day in UTC."""
    day = _start_of_day(text)
    return day + timedelta(days=1) if day is not None else None
