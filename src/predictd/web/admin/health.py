"""The first of the organiser's pages: whether the platform is well."""

from starlette.responses import Response
from starlette.routing import Route

from predictd import __version__
from predictd.api.app import Services
from predictd.monitoring.health import check_health
from predictd.web.admin.permissions import organiser_page
from predictd.web.visits import Visit


def health_routes(services: Services) -> list[Route]:
    """The routes of this page."""
    return [organiser_page(services, "/organise", show_health)]


def show_health(visit: Visit) -> Response:
    """Every check with what it found."""
    services = visit.services
    checks = check_health(
        services.database,
        services.storage,
        services.settings.home,
        services.vitals,
        visit.now,
    )
    return visit.page("organise/health.html", checks=checks, vitals=services.vitals, version=__version__)
