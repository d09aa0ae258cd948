"""All routes of the pages."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from predictd.api.app import Services
from predictd.web.account import account_routes
from predictd.web.admin import admin_routes
from predictd.web.auth import signing_in_routes
from predictd.web.diagnostics import diagnostics_routes
from predictd.web.events import live_route
from predictd.web.headers import secured
from predictd.web.leaderboards import board_routes
from predictd.web.models import model_routes
from predictd.web.notifications import notification_routes
from predictd.web.rounds import round_routes
from predictd.web.runs import run_routes
from predictd.web.templating import ASSETS, asset, asset_version
from predictd.web.uploads import upload_routes
from predictd.web.visits import PAGE

FOR_EVER = "public, max-age=31536000, immutable"


def web_routes(services: Services) -> list[BaseRoute]:
    """The routes of all pages, and what they are made of."""
    return [
        *signing_in_routes(services),
        *upload_routes(services),
        *model_routes(services),
        *run_routes(services),
        *diagnostics_routes(services),
        *board_routes(services),
        *round_routes(services),
        *account_routes(services),
        *notification_routes(services),
        *admin_routes(services),
        live_route(services),
        Route("/assets/{name}", serve_asset, methods=["GET"]),
    ]


def page_paths(services: Services) -> list[str]:
    """The paths of all pages, as their routes have them: what tests and screenshots go through."""
    return [route.path for route in web_routes(services) if isinstance(route, Route) and route.name == PAGE]


def serve_asset(request: Request) -> Response:
    """A style sheet, a script or a picture."""
    name = str(request.path_params["name"])
    if name not in ASSETS:
        return secured(PlainTextResponse("File not found.\n", 404))
    response = Response(asset(name), media_type=ASSETS[name][1])
    is_current = request.query_params.get("v") == asset_version(name)
    response.headers["Cache-Control"] = FOR_EVER if is_current else "no-cache"
    return secured(response, is_private=False)
