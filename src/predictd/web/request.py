"""One request for a page: its account, its form and path parameters, and the responses to it."""

import secrets
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from predictd.db.models import Account
from predictd.db.sessions import find_session
from predictd.domain.errors import NotAuthenticatedError, NotFoundError
from predictd.http.services import Services, base_url, client_address
from predictd.storage import Storage
from predictd.uploads.upload_service import UploadService
from predictd.web.csrf import check_csrf_token, csrf_token
from predictd.web.flash import MESSAGES
from predictd.web.responses import secured
from predictd.web.templating import render

SESSION_COOKIE = "predictd_session"
# Proves forms that are submitted before there is a session, such as the sign-in form.
CSRF_COOKIE = "predictd_csrf"


@dataclass(kw_only=True)
class PageRequest:
    """One request for a page.

    Args:
        http: the request as Starlette passes it.
        services: what the server shares among requests.
        session: the reading transaction of the request.
        form: the fields of the submitted form; empty for a GET request.
        error: the message that the page shows above its content.
    """

    http: Request
    services: Services
    session: Session
    form: Mapping[str, str]
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    error: str = ""
    _account: Account | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.session_secret = self.http.cookies.get(SESSION_COOKIE, "")
        web_session = find_session(self.session, self.session_secret, self.now) if self.session_secret else None
        self._account = web_session.account if web_session is not None else None
        cookie = self.session_secret if web_session is not None else self.http.cookies.get(CSRF_COOKIE, "")
        self._csrf_secret = cookie or secrets.token_urlsafe(32)
        self._is_csrf_secret_new = not cookie

    @property
    def current_account(self) -> Account | None:
        """The account that is signed in, None for an anonymous request."""
        return self._account

    @property
    def account(self) -> Account:
        """The account that is signed in.

        Raises:
            NotAuthenticatedError: the request is anonymous.
        """
        if self._account is None:
            raise NotAuthenticatedError
        return self._account

    @property
    def client_address(self) -> str:
        """The IP address of the client."""
        return client_address(self.http)

    @property
    def base_url(self) -> str:
        """The URL at which clients reach this server, without a trailing slash."""
        return base_url(self.http, self.services.settings)

    @property
    def storage(self) -> Storage:
        """The storage, with presigned URLs of the same origin as the page."""
        return self.services.storage.with_base_url("")

    @property
    def uploads(self) -> UploadService:
        """The service for uploads and runs."""
        return self.services.uploads(self.storage)

    def path_param(self, name: str) -> str:
        """Return a parameter of the path."""
        return str(self.http.path_params[name])

    def int_path_param(self, name: str) -> int:
        """Return a parameter of the path as a number of at most 9 digits; NotFoundError for anything else."""
        text = self.path_param(name)
        if not (text.isascii() and text.isdecimal() and len(text) < 10):
            raise NotFoundError("This page does not exist.")
        return int(text)

    def query_param(self, name: str) -> str:
        """Return a parameter of the query string, empty if it is missing."""
        return self.http.query_params.get(name, "")

    @property
    def offset(self) -> int:
        """The number of rows before the shown page of a long list."""
        text = self.query_param("offset")
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 8 else 0

    def write(self) -> AbstractContextManager[Session]:
        """Begin a writing transaction."""
        return self.services.database.write()

    def check_csrf_token(self) -> None:
        """Raise InvalidCsrfTokenError unless the form or the header X-CSRF-Token has the token of this browser."""
        token = self.form.get("csrf", "") or self.http.headers.get("x-csrf-token", "")
        check_csrf_token(token, "" if self._is_csrf_secret_new else self._csrf_secret)

    def render(self, template: str, status_code: int = 200, /, **context: Any) -> Response:
        """Return the page that the template renders."""
        text = render(
            template,
            current_account=self._account,
            csrf=csrf_token(self._csrf_secret),
            path=self.http.url.path,
            now=self.now,
            message=MESSAGES.get(self.query_param("message"), ""),
            error=self.error,
            can_sign_up=self.services.settings.allow_sign_up,
            **context,
        )
        response = HTMLResponse(text, status_code)
        if self._account is None and self._is_csrf_secret_new:
            self.set_cookie(response, CSRF_COOKIE, self._csrf_secret)
        return secured(response)

    def redirect(self, path: str, message: str = "") -> Response:
        """Redirect to another page, which shows the flash message of that key."""
        return secured(RedirectResponse(f"{path}{'?message=' if message else ''}{message}", 303))

    def set_cookie(self, response: Response, name: str, value: str, seconds: int | None = None) -> None:
        """Set a cookie that scripts can't read, and that is sent over HTTPS only if the page came over HTTPS."""
        is_https = self.base_url.startswith("https:")
        response.set_cookie(name, value, max_age=seconds, httponly=True, samesite="lax", secure=is_https)
