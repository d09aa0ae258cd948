"""Routes of pages and downloads: run a handler in a reading transaction, and turn its errors into responses."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from predictd.db.audit import Actor, act_as
from predictd.domain.errors import (
    BusyError,
    ConflictError,
    InvalidInputError,
    LimitReachedError,
    NotAuthenticatedError,
    NotFoundError,
    PredictdError,
    StorageDownError,
    TooLargeError,
)
from predictd.domain.text import is_storable
from predictd.http.rate_limit import TooManyAttemptsError
from predictd.http.services import Services
from predictd.web.csrf import InvalidCsrfTokenError
from predictd.web.request import PageRequest
from predictd.web.responses import secured

Handler = Callable[[PageRequest], Response]
FileHandler = Callable[[PageRequest, Path, str], Response]

INVALID_TEXT = "The request contains NUL characters or bytes that are not valid UTF-8. Remove them and try again."
# The name of the routes of pages.
PAGE = "page"
_STATUS_CODES: dict[type[PredictdError], int] = {
    InvalidCsrfTokenError: 403,
    NotFoundError: 404,
    ConflictError: 409,
    TooLargeError: 413,
    TooManyAttemptsError: 429,
    LimitReachedError: 429,
    BusyError: 503,
    StorageDownError: 503,
}


def page_route(services: Services, path: str, handler: Handler, limiter: CapacityLimiter | None = None) -> Route:
    """Return the route of a page. A limiter bounds how many requests for an expensive page run at once."""

    async def endpoint(request: Request) -> Response:
        return await to_thread.run_sync(dispatch, services, request, {}, handler, limiter=limiter)

    return Route(path, endpoint, methods=["GET"], name=PAGE)


def download_route(services: Services, path: str, handler: Handler) -> Route:
    """Return the route of a file."""

    async def endpoint(request: Request) -> Response:
        return await to_thread.run_sync(dispatch, services, request, {}, handler)

    return Route(path, endpoint, methods=["GET"], name="download")


def dispatch(
    services: Services,
    request: Request,
    form: Mapping[str, str],
    handler: Handler,
    error_handler: Handler | None = None,
) -> Response:
    """Return the response of the handler.

    An error is shown on the page of `error_handler`, or on the error page if there is none; as JSON if the client
    accepts JSON.
    """
    with services.database.read() as session:
        page_request = PageRequest(http=request, services=services, session=session, form=form)
        actor = Actor(
            interface="web",
            at=page_request.now,
            account=lambda: page_request.current_account,
            address=page_request.client_address,
        )
        with act_as(actor):
            if not all(map(is_storable, _client_texts(request, form))):
                return _error_response(page_request, InvalidInputError(INVALID_TEXT), None)
            try:
                return handler(page_request)
            except PredictdError as error:
                return _error_response(page_request, error, error_handler)


def _client_texts(request: Request, form: Mapping[str, str]) -> Iterator[str]:
    """Yield all values that the client chose."""
    yield from map(str, request.path_params.values())
    yield from (value for _, value in request.query_params.multi_items())
    yield from form.values()


def _error_response(request: PageRequest, error: PredictdError, error_handler: Handler | None) -> Response:
    accepts_json = request.http.headers.get("accept", "").startswith("application/json")
    if isinstance(error, NotAuthenticatedError):
        if accepts_json:
            return secured(JSONResponse({"error": error.message}, 401))
        next_path = request.http.url.path if request.http.method == "GET" else "/models"
        return request.redirect(f"/signin?next={quote(next_path, safe='')}")
    status_code = _STATUS_CODES.get(type(error), 400)
    if accepts_json:
        return secured(JSONResponse({"error": error.message}, status_code))
    if error_handler is not None and not isinstance(error, InvalidCsrfTokenError):
        request.session.rollback()
        retry = PageRequest(http=request.http, services=request.services, session=request.session, form=request.form)
        retry.error = error.message
        try:
            response = error_handler(retry)
            response.status_code = status_code
            return response
        except PredictdError as page_error:
            error = page_error
    request.error = ""
    return request.render("error.html", status_code, status_code=status_code, description=error.message)
