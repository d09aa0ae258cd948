"""All routes of the pages."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from predictd.http.services import Services
from predictd.web.account_settings import account_routes
from predictd.web.admin import admin_routes
from predictd.web.auth import auth_routes
from predictd.web.diagnostics import diagnostics_routes
from predictd.web.dispatch import PAGE
from predictd.web.leaderboards import leaderboard_routes
from predictd.web.models import model_routes
from predictd.web.notifications import notification_routes
from predictd.web.responses import secured
from predictd.web.rounds import round_routes
from predictd.web.runs import run_routes
from predictd.web.server_sent_events import events_route
from predictd.web.templating import ASSETS, asset, asset_version
from predictd.web.uploads import upload_routes

IMMUTABLE = "public, max-age=31536000, immutable"


def web_routes(services: Services) -> list[BaseRoute]:
    """Return the routes of all pages, their events, and their assets."""
    return [
        *auth_routes(services),
        *upload_routes(services),
        *model_routes(services),
        *run_routes(services),
        *diagnostics_routes(services),
        *leaderboard_routes(services),
        *round_routes(services),
        *account_routes(services),
        *notification_routes(services),
        *admin_routes(services),
        events_route(services),
        Route("/assets/{name}", serve_asset, methods=["GET"]),
    ]


def page_paths(services: Services) -> list[str]:
    """Return the path patterns of all pages."""
    return [route.path for route in web_routes(services) if isinstance(route, Route) and route.name == PAGE]


def serve_asset(request: Request) -> Response:
    """Return a style sheet, a script, or an icon."""
    name = str(request.path_params["name"])
    if name not in ASSETS:
        return secured(PlainTextResponse("File not found.\n", 404))
    response = Response(asset(name), media_type=ASSETS[name][1])
    is_current = request.query_params.get("v") == asset_version(name)
    response.headers["Cache-Control"] = IMMUTABLE if is_current else "no-cache"
    return secured(response, is_private=False)
