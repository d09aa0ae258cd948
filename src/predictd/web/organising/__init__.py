"""The organiser's pages: accounts, rounds, data versions, runtimes, the queue, health and the audit log.

Everybody else gets what they get for a page that there is not. The rules are those of the commands, and live below.
"""

from starlette.routing import Route

from predictd.api.app import Services
from predictd.web.organising.accounts import account_routes
from predictd.web.organising.audit import audit_routes
from predictd.web.organising.catalogue import catalogue_routes
from predictd.web.organising.health import health_routes
from predictd.web.organising.queue import queue_routes
from predictd.web.organising.rounds import round_routes

__all__ = ["organising_routes"]


def organising_routes(services: Services) -> list[Route]:
    """The routes of all of these pages."""
    return [
        *health_routes(services),
        *account_routes(services),
        *round_routes(services),
        *catalogue_routes(services),
        *queue_routes(services),
        *audit_routes(services),
    ]
