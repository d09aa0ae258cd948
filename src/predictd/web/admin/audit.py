"""The audit log: who did what, with filters."""

from datetime import UTC, datetime, timedelta

from starlette.responses import Response
from starlette.routing import Route

from predictd.api.app import Services
from predictd.db.audit import ACTIONS
from predictd.db.audit_entries import Wanted, list_entries
from predictd.domain.errors import InvalidInputError
from predictd.web.admin.permissions import admin_page
from predictd.web.visits import Visit

MOST_ROWS = 100
WAYS = ("web", "api", "mcp", "command line")


def audit_routes(services: Services) -> list[Route]:
    """The routes of this page."""
    return [admin_page(services, "/admin/audit", show_audit)]


def show_audit(visit: Visit) -> Response:
    """The entries that are asked for, newest first."""
    at = visit.offset
    asked = {name: visit.asked(name).strip() for name in ("who", "action", "about", "way", "since", "until")}
    wanted = Wanted(
        who=asked["who"],
        action=asked["action"],
        about=asked["about"],
        way=asked["way"],
        since=_day(asked["since"]),
        before=_after(asked["until"]),
    )
    found = list_entries(visit.session, wanted, limit=MOST_ROWS + 1, offset=at)
    return visit.page(
        "admin/audit.html",
        entries=found[:MOST_ROWS],
        asked=asked,
        actions=ACTIONS,
        ways=WAYS,
        before=max(at - MOST_ROWS, 0) if at else None,
        after=at + MOST_ROWS if len(found) > MOST_ROWS else None,
    )


def _day(text: str) -> datetime | None:
    """The beginning of that day in UTC."""
    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidInputError(f"{text[:32]!r} is not a date. Write dates as YYYY-MM-DD.") from error


def _after(text: str) -> datetime | None:
    """The end of that day."""
    day = _day(text)
    return day + timedelta(days=1) if day is not None else None
