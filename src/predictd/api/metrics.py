"""The endpoint /metrics for Prometheus, which responds with 404 to all other clients."""

import hmac
import ipaddress
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from predictd.db import Database
from predictd.domain.errors import SetupError
from predictd.monitoring.collector import MetricsCollector
from predictd.monitoring.server_status import ServerStatus
from predictd.settings import Settings


def metrics_route(settings: Settings, database: Database, vitals: ServerStatus | None) -> Route:
    """Return the route, which requires the token or one of the networks of the settings.

    Raises:
        SetupError: a network is invalid.
    """
    registry = CollectorRegistry()
    registry.register(MetricsCollector(database, settings.home, vitals))
    is_allowed = _permission_check(settings)

    def endpoint(request: Request) -> Response:
        if not is_allowed(request):
            return PlainTextResponse("Not Found", 404)
        return Response(generate_latest(REGISTRY) + generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Route("/metrics", endpoint, methods=["GET"])


def _permission_check(settings: Settings) -> Callable[[Request], bool]:
    try:
        networks = [ipaddress.ip_network(network) for network in settings.metrics_networks.replace(",", " ").split()]
    except ValueError as error:
        raise SetupError(
            f"The setting PREDICTD_METRICS_NETWORKS is invalid: {error}. Write it as 127.0.0.1/32, 10.0.0.0/8."
        ) from error
    expected = f"Bearer {settings.metrics_token}".encode()

    def is_allowed(request: Request) -> bool:
        authorization = request.headers.get("authorization", "").encode()
        if settings.metrics_token and hmac.compare_digest(authorization, expected):
            return True
        try:
            address = ipaddress.ip_address(request.client.host if request.client is not None else "")
        except ValueError:
            return False
        return any(address in network for network in networks)

    return is_allowed
