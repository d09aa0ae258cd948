"""/metrics, for Prometheus; for everybody else there is no such page."""

import hmac
import ipaddress
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from predictd.db import Database
from predictd.domain.errors import SetupError
from predictd.monitoring.collector import Gauges
from predictd.monitoring.server_status import Vitals
from predictd.settings import Settings


def metrics_route(settings: Settings, database: Database, vitals: Vitals | None) -> Route:
    """The route: for who sends the token of the settings, or comes from a network that they name.

    Raises:
        SetupError: a network that is none.
    """
    registry = CollectorRegistry()
    registry.register(Gauges(database, settings.home, vitals))
    is_allowed = _permission(settings)

    def answer(request: Request) -> Response:
        if not is_allowed(request):
            return PlainTextResponse("Not Found", 404)
        return Response(generate_latest(REGISTRY) + generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Route("/metrics", answer, methods=["GET"])


def _permission(settings: Settings) -> Callable[[Request], bool]:
    try:
        networks = [ipaddress.ip_network(one) for one in settings.metrics_networks.replace(",", " ").split()]
    except ValueError as error:
        raise SetupError(
            f"The setting PREDICTD_METRICS_NETWORKS is invalid: {error}. Write it as 127.0.0.1/32, 10.0.0.0/8."
        ) from error
    expected = f"Bearer {settings.metrics_token}".encode()

    def is_allowed(request: Request) -> bool:
        given = request.headers.get("authorization", "").encode()
        if settings.metrics_token and hmac.compare_digest(given, expected):
            return True
        try:
            address = ipaddress.ip_address(request.client.host if request.client is not None else "")
        except ValueError:
            return False
        return any(address in network for network in networks)

    return is_allowed
