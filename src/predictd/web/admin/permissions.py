"""Routes of admin pages, which only admins can open, and the confirmation of actions that can't be undone."""

from starlette.responses import Response
from starlette.routing import Route

from predictd.domain.errors import InvalidInputError, NotFoundError
from predictd.domain.limits import MAX_SUBMISSION_BYTES
from predictd.http.services import Services
from predictd.web.dispatch import FileHandler, Handler, page_route
from predictd.web.forms import file_route, form_route
from predictd.web.request import PageRequest


def admin_page(services: Services, path: str, handler: Handler) -> Route:
    """Return the route of an admin page."""
    return page_route(services, path, _admin_only(handler))


def admin_form(services: Services, path: str, handler: Handler, error_handler: Handler) -> Route:
    """Return the route of a form of an admin page."""
    return form_route(services, path, _admin_only(handler), _admin_only(error_handler))


def admin_file_form(services: Services, path: str, handler: FileHandler, error_handler: Handler) -> Route:
    """Return the route of a form with a file, which is read only if the account is an admin."""
    max_bytes = MAX_SUBMISSION_BYTES
    return file_route(services, path, handler, _admin_only(error_handler), max_bytes, check_permission=_check_is_admin)


def check_confirmed(request: PageRequest) -> None:
    """Raise InvalidInputError unless the confirmation checkbox of the form is selected."""
    if request.form.get("confirmed") != "yes":
        raise InvalidInputError("Nothing was changed. Select the confirmation checkbox and try again.")


def _admin_only(handler: Handler) -> Handler:
    def guarded(request: PageRequest) -> Response:
        _check_is_admin(request)
        return handler(request)

    return guarded


def _check_is_admin(request: PageRequest) -> None:
    if not request.account.is_admin:
        raise NotFoundError("This page does not exist.")
