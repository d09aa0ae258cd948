"""Who may see the organiser's pages, and what is asked before something that can't be taken back."""

from starlette.responses import Response
from starlette.routing import Route

from predictd.api.app import Services
from predictd.domain.errors import InvalidInputError, NotFoundError
from predictd.web.visits import FileHandler, Handler, Visit, file_route, form_route, page_route


def admin_page(services: Services, path: str, show: Handler) -> Route:
    """A page for organisers alone."""
    return page_route(services, path, _guarded(show))


def admin_form(services: Services, path: str, take: Handler, back: Handler) -> Route:
    """What a form of such a page is sent to."""
    return form_route(services, path, _guarded(take), _guarded(back))


def admin_file_form(services: Services, path: str, take: FileHandler, back: Handler) -> Route:
    """The same with a file; it is read only in the session of an organiser."""
    most = services.settings.max_submission_bytes
    return file_route(services, path, take, _guarded(back), most, admit=_check_admin)


def check_confirmed(visit: Visit) -> None:
    """Raise InvalidInputError unless the box is ticked that says that it is meant."""
    if visit.form.get("confirmed") != "yes":
        raise InvalidInputError("Nothing was changed. Select the confirmation checkbox and try again.")


def _guarded(handle: Handler) -> Handler:
    def guarded(visit: Visit) -> Response:
        _check_admin(visit)
        return handle(visit)

    return guarded


def _check_admin(visit: Visit) -> None:
    if not visit.account.is_organiser:
        raise NotFoundError("This page does not exist.")
