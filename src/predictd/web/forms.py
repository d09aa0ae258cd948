"""Routes of forms: read the fields and the file of a form, check its CSRF token, and run its handler."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from predictd.domain.errors import PredictdError, TooLargeError
from predictd.http.multipart import Body, BufferedWriter, FileForm
from predictd.http.services import Services
from predictd.uploads.quota_checks import check_free_space
from predictd.web.dispatch import INVALID_TEXT, FileHandler, Handler, dispatch
from predictd.web.request import PageRequest
from predictd.web.responses import secured

MAX_FORM_BYTES = 256 * 1024
MAX_SEPARATORS = 2000
PermissionCheck = Callable[[PageRequest], None]


def form_route(
    services: Services,
    path: str,
    handler: Handler,
    error_handler: Handler | None = None,
    limiter: CapacityLimiter | None = None,
    *,
    is_csrf_exempt: bool = False,
) -> Route:
    """Return the route that a form is submitted to.

    An error is shown on the page of `error_handler`, on the error page if there is none, and as JSON if the client
    accepts JSON. The form needs a CSRF token unless it is exempt, because a signature in its path proves it.
    """

    async def endpoint(request: Request) -> Response:
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > MAX_FORM_BYTES:
            return secured(JSONResponse({"error": f"The form is larger than {MAX_FORM_BYTES} bytes."}, 413))
        try:
            # Fields without a name or value take the event loop's time, too, and are not counted by the parser.
            if (await request.body()).count(b"&") > MAX_SEPARATORS:
                return secured(JSONResponse({"error": f"The form has more than {MAX_SEPARATORS} fields."}, 413))
            async with request.form(max_files=0, max_fields=100) as form:
                fields = {name: value for name, value in form.items() if isinstance(value, str)}
        except (UnicodeError, LookupError):  # of a charset that the form names
            return secured(JSONResponse({"error": INVALID_TEXT}, 400))
        checked = handler if is_csrf_exempt else _csrf_protected(handler)
        return await to_thread.run_sync(dispatch, services, request, fields, checked, error_handler, limiter=limiter)

    return Route(path, endpoint, methods=["POST"])


def file_route(
    services: Services,
    path: str,
    handler: FileHandler,
    error_handler: Handler,
    max_bytes: int,
    check_permission: PermissionCheck | None = None,
) -> Route:
    """Return the route that a form with one file, its last field, is submitted to.

    The account is checked before the file is read. The file is written to the disk as it arrives; the handler gets its
    path and the filename that the client sent.
    """

    def check_account(request: Request) -> None:
        with services.database.read() as session:
            page_request = PageRequest(http=request, services=services, session=session, form={})
            _ = page_request.account
            if check_permission is not None:
                check_permission(page_request)

    def check_disk(size_bytes: int, _total_bytes: int) -> None:
        free_bytes = services.settings.quotas.free_bytes
        if free_bytes:
            check_free_space(services.settings.home, free_bytes, size_bytes)

    async def endpoint(request: Request) -> Response:
        body = Body(request)
        with tempfile.TemporaryDirectory(prefix="receiving-", dir=services.settings.home) as folder:
            file = Path(folder) / "file"
            try:
                await to_thread.run_sync(check_account, request)
                form = await _receive_file(request, body, file, max_bytes, check_disk)
            except PredictdError as error:
                await body.drain()
                return await to_thread.run_sync(dispatch, services, request, {}, partial(_raise, error), error_handler)
            except ClientDisconnect:
                return secured(PlainTextResponse("The upload was interrupted. Upload the file again.\n", 400))
            checked = _csrf_protected(lambda page_request: handler(page_request, file, form.filename))
            return await to_thread.run_sync(dispatch, services, request, form.fields, checked, error_handler)

    return Route(path, endpoint, methods=["POST"])


async def _receive_file(
    request: Request, body: Body, file: Path, max_bytes: int, check_disk: Callable[[int, int], None]
) -> FileForm:
    """Write the file of the form to the disk as it arrives."""
    length = request.headers.get("content-length", "")
    # The fields around the file are few.
    if length.isdecimal() and int(length) > max_bytes + MAX_FORM_BYTES:
        raise TooLargeError(f"The file is too large: at most {max_bytes} bytes are allowed. Upload a smaller file.")
    form = FileForm(request.headers.get("content-type", ""))
    with file.open("xb") as opened:
        writer = BufferedWriter(opened, max_bytes, check_disk)
        async for content in form.file_chunks(body):
            await writer.write(content)
        await writer.flush()
    return form


def _raise(error: PredictdError, _request: PageRequest) -> Response:
    raise error


def _csrf_protected(handler: Handler) -> Handler:
    def protected(request: PageRequest) -> Response:
        request.check_csrf_token()
        return handler(request)

    return protected
