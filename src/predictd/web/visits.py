"""One request for a page: who it is, what the form says, and how it is answered."""

import hashlib
import hmac
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from anyio import CapacityLimiter, to_thread
from sqlalchemy.orm import Session
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from predictd.api.app import Services, address_of, base_url
from predictd.db.audit import Actor, acting
from predictd.db.models import Account
from predictd.db.sessions import find_session
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
from predictd.http.multipart import Body, Form, Sink
from predictd.http.rate_limit import TooManyAttemptsError
from predictd.storage import Storage
from predictd.uploads.quotas import check_free
from predictd.web.headers import secured
from predictd.web.templating import render

SESSION_COOKIE = "predictd_session"
# Forms that are filled in before there is a session are proven by a cookie of their own.
VISIT_COOKIE = "predictd_visit"
MOST_FORM_BYTES = 256 * 1024
MOST_SEPARATORS = 2000
NO_TEXT = "The request contains NUL characters or bytes that are not valid UTF-8. Remove them and try again."
# The name of the routes of pages.
PAGE = "page"
DONE = {
    "assigned": "Pickle assigned.",
    "unassigned": "Pickle unassigned.",
    "renamed": "Model renamed.",
    "archived": "Model archived. Rounds no longer run its pickle.",
    "unarchived": "Model restored.",
    "fallback": "Fallback setting saved.",
    "canceled": "Run canceled.",
    "webhook": "Webhook saved.",
    "password": "Password changed. All other sessions have ended.",
    "token-revoked": "Token revoked.",
    "address": "Email address saved. Open the link in the confirmation email to start receiving notifications.",
    "address-unconfirmed": "Email address saved.",
    "address-removed": "Email address removed. No more email is sent.",
    "events": "Notification settings saved.",
    "test": "Test notification queued. Reload the page to see the result.",
    "webhook-deleted": "Webhook deleted.",
    "diagnostics-deleted": "Diagnostics deleted.",
    "discarded": "Upload discarded.",
    "signed-out": "You are signed out.",
    "password-chosen": "Password saved. Sign in with it.",
    "suspended": "Account suspended. Its runs are stopped.",
    "reactivated": "Account reactivated.",
    "admin-granted": "Admin access granted.",
    "admin-revoked": "Admin access revoked.",
    "round-opened": "Round opened. Every assigned pickle runs.",
    "round-closed": "Round closed.",
    "round-scored": "Daily scores saved.",
    "round-resolved": "Round resolved.",
    "default": "Default changed.",
    "deprecated": "Deprecated. New uploads can no longer select it.",
    "restored": "Restored. New uploads can select it again.",
    "requeued": "Run requeued.",
}
_STATUSES: dict[type[PredictdError], int] = {
    NotFoundError: 404,
    ConflictError: 409,
    TooLargeError: 413,
    TooManyAttemptsError: 429,
    LimitReachedError: 429,
    BusyError: 503,
    StorageDownError: 503,
}


class ForgedFormError(PredictdError):
    """The form is invalid or has expired. Go back, reload the page, and submit the form again."""

    code = "forged_form"


@dataclass(kw_only=True)
class Visit:
    """One request. `session` is its reading transaction; `secret` proves its forms."""

    request: Request
    services: Services
    session: Session
    form: Mapping[str, str]
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    error: str = ""
    _account: Account | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.session_secret = self.request.cookies.get(SESSION_COOKIE, "")
        begun = find_session(self.session, self.session_secret, self.now) if self.session_secret else None
        self._account = begun.account if begun is not None else None
        known = self.session_secret if begun is not None else self.request.cookies.get(VISIT_COOKIE, "")
        self.secret = known or secrets.token_urlsafe(32)
        self._is_secret_new = not known

    @property
    def visitor(self) -> Account | None:
        """Who is signed in, if anybody."""
        return self._account

    @property
    def account(self) -> Account:
        """Who is signed in; NotAuthenticatedError when nobody is."""
        if self._account is None:
            raise NotAuthenticatedError
        return self._account

    @property
    def csrf(self) -> str:
        """What a form must carry."""
        return hashlib.sha256(f"form:{self.secret}".encode()).hexdigest()

    @property
    def address(self) -> str:
        """Where the request comes from."""
        return address_of(self.request)

    @property
    def storage(self) -> Storage:
        """The storage, with URLs as this browser needs them: of the same origin as the page."""
        return self.services.storage.at("")

    def part(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    def number(self, name: str) -> int:
        """A part of the path that is a number, of at most 9 digits; NotFoundError for anything else."""
        text = self.part(name)
        if not (text.isascii() and text.isdecimal() and len(text) < 10):
            raise NotFoundError("This page does not exist.")
        return int(text)

    def asked(self, name: str) -> str:
        """A value of the query, empty where there is none."""
        return self.request.query_params.get(name, "")

    @property
    def offset(self) -> int:
        """Where a page of a long list begins."""
        at = self.asked("at")
        return int(at) if at.isascii() and at.isdecimal() and len(at) < 8 else 0

    def write(self) -> AbstractContextManager[Session]:
        """A writing transaction."""
        return self.services.database.write()

    def check_form(self) -> None:
        """Raise ForgedFormError unless the form carries what the page gave it."""
        given = self.form.get("csrf", "") or self.request.headers.get("x-csrf-token", "")
        if self._is_secret_new or not hmac.compare_digest(given.encode(), self.csrf.encode()):
            raise ForgedFormError

    def page(self, template: str, answer_with: int = 200, /, **content: Any) -> Response:
        """The page of that template."""
        settings = self.services.settings
        text = render(
            template,
            visitor=self._account,
            csrf=self.csrf,
            path=self.request.url.path,
            now=self.now,
            done=DONE.get(self.asked("done"), ""),
            error=self.error,
            can_sign_up=settings.sign_up,
            **content,
        )
        response = HTMLResponse(text, answer_with)
        if self._account is None and self._is_secret_new:
            self.set_cookie(response, VISIT_COOKIE, self.secret)
        return secured(response)

    def go(self, path: str, done: str = "") -> Response:
        """Send the browser to another page, which says what was done."""
        return secured(RedirectResponse(f"{path}{'?done=' if done else ''}{done}", 303))

    def set_cookie(self, response: Response, name: str, value: str, seconds: int | None = None) -> None:
        """A cookie that no script reads; under https it never goes over http."""
        secure = base_url(self.request, self.services.settings).startswith("https:")
        response.set_cookie(name, value, max_age=seconds, httponly=True, samesite="lax", secure=secure)


Handler = Callable[[Visit], Response]
FileHandler = Callable[[Visit, Path, str], Response]
Admit = Callable[[Visit], None]


def page_route(services: Services, path: str, show: Handler, limiter: CapacityLimiter | None = None) -> Route:
    """A page to look at. A limiter says how many may be made at a time, of those that are much work."""

    async def answer(request: Request) -> Response:
        return await to_thread.run_sync(_answer, services, request, {}, show, limiter=limiter)

    return Route(path, answer, methods=["GET"], name=PAGE)


def download_route(services: Services, path: str, send: Handler) -> Route:
    """A file, not a page."""

    async def answer(request: Request) -> Response:
        return await to_thread.run_sync(_answer, services, request, {}, send)

    return Route(path, answer, methods=["GET"], name="download")


def form_route(
    services: Services,
    path: str,
    take: Handler,
    back: Handler | None = None,
    limiter: CapacityLimiter | None = None,
    *,
    proven_by_link: bool = False,
) -> Route:
    """What a form is sent to; an error of its input is shown on the page `back`, or as JSON where there is none.

    It must carry what its page gave it, unless a signature in the path proves it.
    """

    async def answer(request: Request) -> Response:
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > MOST_FORM_BYTES:
            return secured(JSONResponse({"error": f"The form is larger than {MOST_FORM_BYTES} bytes."}, 413))
        try:
            # Fields without a name or value take the event loop's time, too, and are not counted by the parser.
            if (await request.body()).count(b"&") > MOST_SEPARATORS:
                return secured(JSONResponse({"error": f"The form has more than {MOST_SEPARATORS} fields."}, 413))
            async with request.form(max_files=0, max_fields=100) as form:
                given = {name: value for name, value in form.items() if isinstance(value, str)}
        except (UnicodeError, LookupError):  # of a charset that the form names
            return secured(JSONResponse({"error": NO_TEXT}, 400))
        handle = take if proven_by_link else _checked(take)
        return await to_thread.run_sync(_answer, services, request, given, handle, back, limiter=limiter)

    return Route(path, answer, methods=["POST"])


def file_route(
    services: Services, path: str, take: FileHandler, back: Handler, most_bytes: int, admit: Admit | None = None
) -> Route:
    """What a form with one file, its last field, is sent to by whoever is signed in and let in by `admit`.

    The file is written to the disk as it arrives; `take` gets it there, with the name that it was sent under.
    """

    def check(request: Request) -> None:
        with services.database.read() as session:
            visit = Visit(request=request, services=services, session=session, form={})
            _ = visit.account
            if admit is not None:
                admit(visit)

    def admit_bytes(size_bytes: int, _total_bytes: int) -> None:
        free_bytes = services.settings.quotas.free_bytes
        if free_bytes:
            check_free(services.settings.home, free_bytes, size_bytes)

    async def answer(request: Request) -> Response:
        body = Body(request)
        with tempfile.TemporaryDirectory(prefix="receiving-", dir=services.settings.home) as folder:
            file = Path(folder) / "file"
            try:
                await to_thread.run_sync(check, request)
                form = await _received(request, body, file, most_bytes, admit_bytes)
            except PredictdError as error:
                await body.drain()
                return await to_thread.run_sync(_answer, services, request, {}, partial(_raise, error), back)
            except ClientDisconnect:
                return secured(PlainTextResponse("The upload was interrupted. Upload the file again.\n", 400))
            taken = _checked(lambda visit: take(visit, file, form.filename))
            return await to_thread.run_sync(_answer, services, request, form.fields, taken, back)

    return Route(path, answer, methods=["POST"])


async def _received(
    request: Request, body: Body, file: Path, most_bytes: int, admit_bytes: Callable[[int, int], None]
) -> Form:
    length = request.headers.get("content-length", "")
    # The fields around the file are few.
    if length.isdecimal() and int(length) > most_bytes + MOST_FORM_BYTES:
        raise TooLargeError(f"The file is too large: at most {most_bytes} bytes are allowed. Upload a smaller file.")
    form = Form(request.headers.get("content-type", ""))
    with file.open("xb") as opened:
        sink = Sink(opened, most_bytes, admit_bytes)
        async for content in form.file_of(body):
            await sink.write(content)
        await sink.flush()
    return form


def _raise(error: PredictdError, _visit: Visit) -> Response:
    raise error


def _checked(take: Handler) -> Handler:
    def checked(visit: Visit) -> Response:
        visit.check_form()
        return take(visit)

    return checked


def _answer(
    services: Services,
    request: Request,
    form: Mapping[str, str],
    handle: Handler,
    back: Handler | None = None,
) -> Response:
    with services.database.read() as session:
        visit = Visit(request=request, services=services, session=session, form=form)
        actor = Actor(way="web", at=visit.now, account=lambda: visit.visitor, address=visit.address)
        with acting(actor):
            if not all(map(is_storable, _texts_of(request, form))):
                return _refusal(visit, InvalidInputError(NO_TEXT), None)
            try:
                return handle(visit)
            except PredictdError as error:
                return _refusal(visit, error, back)


def _texts_of(request: Request, form: Mapping[str, str]) -> Iterator[str]:
    """All values that a client chose."""
    yield from map(str, request.path_params.values())
    yield from (value for _, value in request.query_params.multi_items())
    yield from form.values()


def _refusal(visit: Visit, error: PredictdError, back: Handler | None) -> Response:
    wants_json = visit.request.headers.get("accept", "").startswith("application/json")
    if isinstance(error, NotAuthenticatedError):
        if wants_json:
            return secured(JSONResponse({"error": error.message}, 401))
        here = visit.request.url.path if visit.request.method == "GET" else "/models"
        return visit.go(f"/signin?next={quote(here, safe='')}")
    status = 403 if isinstance(error, ForgedFormError) else _STATUSES.get(type(error), 400)
    if wants_json:
        return secured(JSONResponse({"error": error.message}, status))
    if back is not None and not isinstance(error, ForgedFormError):
        visit.session.rollback()
        shown = Visit(request=visit.request, services=visit.services, session=visit.session, form=visit.form)
        shown.error = error.message
        try:
            response = back(shown)
            response.status_code = status
            return response
        except PredictdError as further:
            error = further
    visit.error = ""
    return visit.page("error.html", status, status=status, message=error.message)
