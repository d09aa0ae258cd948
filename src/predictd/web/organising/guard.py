"""Who may see the organiser's pages, and what is asked before something that can't be taken back."""

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from predictd.api.app import Services
from predictd.db.sessions import find_session
from predictd.domain.errors import InvalidInputError, NotFoundError
from predictd.web.headers import secured
from predictd.web.visits import (
    MOST_FORM_BYTES,
    SESSION_COOKIE,
    Handler,
    Visit,
    answer_form,
    form_route,
    page_route,
)

FILE_FIELD = "file"


def organiser_page(services: Services, path: str, show: Handler) -> Route:
    """A page for organisers alone."""
    return page_route(services, path, _guarded(show))


def organiser_form(services: Services, path: str, take: Handler, back: Handler) -> Route:
    """What a form of such a page is sent to."""
    return form_route(services, path, _guarded(take), _guarded(back))


def organiser_file_form(services: Services, path: str, take: Handler, back: Handler) -> Route:
    """The same with a file, which `Visit.file` holds; it is read only in the session of an organiser."""

    async def answer(request: Request) -> Response:
        length = request.headers.get("content-length", "")
        most = services.settings.max_submission_bytes + MOST_FORM_BYTES
        if not length.isdecimal() or int(length) > most:
            return secured(JSONResponse({"error": f"The file and the form have at most {most} bytes."}, 413))
        if not await run_in_threadpool(_is_organiser, services, request):
            return await run_in_threadpool(answer_form, services, request, {}, _guarded(take), None)
        async with request.form(max_files=1, max_fields=100) as form:
            given = {name: value for name, value in form.items() if isinstance(value, str)}
            sent = form.get(FILE_FIELD)
            file = sent if isinstance(sent, UploadFile) else None
            return await run_in_threadpool(answer_form, services, request, given, _guarded(take), _guarded(back), file)

    return Route(path, answer, methods=["POST"])


def check_sure(visit: Visit) -> None:
    """Raise InvalidInputError unless the box is ticked that says that it is meant."""
    if visit.form.get("sure") != "yes":
        raise InvalidInputError("Tick the box that says that you are sure; nothing was done.")


def _guarded(handle: Handler) -> Handler:
    def guarded(visit: Visit) -> Response:
        if not visit.account.is_organiser:
            raise NotFoundError("There is no such page.")
        return handle(visit)

    return guarded


def _is_organiser(services: Services, request: Request) -> bool:
    secret = request.cookies.get(SESSION_COOKIE, "")
    with services.database.read() as session:
        visit = Visit(request=request, services=services, session=session, form={})
        begun = find_session(session, secret, visit.now) if secret else None
        return begun is not None and begun.account.is_organiser
