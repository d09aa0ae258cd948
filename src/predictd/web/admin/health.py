"""The first of the organiser's pages: whether the platform is well."""

from starlette.responses import Response
from starlette.routing import Route

from predictd import __version__
from predictd.api.app import Services
from predictd.monitoring.health import health
from predictd.web.admin.permissions import admin_page
from predictd.web.visits import Visit


def health_routes(services: Services) -> list[Route]:
    """The routes of this page."""
    return [admin_page(services, "/admin", show_health)]


def show_health(visit: Visit) -> Response:
    """Every check with what it found."""
    services = visit.services
    checks = health(
        services.database,
        services.storage,
        services.settings.home,
        services.vitals,
        visit.now,
        lease_seconds=services.settings.lease_seconds,
    )
    return visit.page("admin/health.html", checks=checks, vitals=services.vitals, version=__version__)
