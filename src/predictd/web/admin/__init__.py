"""Admin pages: health, accounts, rounds, data versions, runtimes, the queue, and the audit log.

For other accounts these pages do not exist. Rules do not belong here: commands follow the same ones.
"""

from starlette.responses import Response
from starlette.routing import Route

from predictd import __version__
from predictd.http.services import Services
from predictd.monitoring.health import check_health
from predictd.web.admin.accounts import account_routes
from predictd.web.admin.audit import audit_routes
from predictd.web.admin.permissions import admin_page
from predictd.web.admin.queue import queue_routes
from predictd.web.admin.rounds import round_routes
from predictd.web.admin.runtimes_and_data import catalogue_routes
from predictd.web.request import PageRequest

__all__ = ["admin_routes"]


def admin_routes(services: Services) -> list[Route]:
    """Return the routes of all admin pages."""
    return [
        admin_page(services, "/admin", show_health),
        *account_routes(services),
        *round_routes(services),
        *catalogue_routes(services),
        *queue_routes(services),
        *audit_routes(services),
    ]


def show_health(request: PageRequest) -> Response:
    """Show every health check with its result."""
    services = request.services
    checks = check_health(services.database, services.storage, services.settings.home, services.vitals, request.now)
    return request.render("admin/health.html", checks=checks, vitals=services.vitals, version=__version__)
