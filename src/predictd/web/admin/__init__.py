"""The organiser's pages: accounts, rounds, data versions, runtimes, the queue, health and the audit log.

Everybody else gets what they get for a page that there is not. The rules are those of the commands, and live below.
"""

from starlette.routing import Route

from predictd.api.app import Services
from predictd.web.admin.accounts import account_routes
from predictd.web.admin.audit import audit_routes
from predictd.web.admin.health import health_routes
from predictd.web.admin.queue import queue_routes
from predictd.web.admin.rounds import round_routes
from predictd.web.admin.runtimes_and_data import catalogue_routes

__all__ = ["admin_routes"]


def admin_routes(services: Services) -> list[Route]:
    """The routes of all of these pages."""
    return [
        *health_routes(services),
        *account_routes(services),
        *round_routes(services),
        *catalogue_routes(services),
        *queue_routes(services),
        *audit_routes(services),
    ]
