"""Sign-in, sign-out, sign-up, and password links."""

from starlette.responses import Response
from starlette.routing import Route

from predictd.db.models import Account
from predictd.db.password_links import find_link, use_link
from predictd.db.sessions import SESSION_HOURS, create_session, end_session
from predictd.domain.errors import NotFoundError
from predictd.http import password_auth
from predictd.http.services import Services
from predictd.http.sign_up import sign_up as sign_up_account
from predictd.web.dispatch import page_route
from predictd.web.forms import form_route
from predictd.web.request import SESSION_COOKIE, PageRequest

SIGN_IN_FAILED = "The name or password is incorrect, or the account has no password."


def auth_routes(services: Services) -> list[Route]:
    """Return the routes of these pages."""
    return [
        page_route(services, "/signin", show_sign_in),
        form_route(services, "/signin", sign_in, show_sign_in),
        page_route(services, "/signup", show_sign_up),
        form_route(services, "/signup", sign_up, show_sign_up),
        form_route(services, "/signout", sign_out, show_sign_in),
        page_route(services, "/password/{secret}", show_password_link),
        form_route(services, "/password/{secret}", choose_password, show_password_link),
    ]


def show_sign_in(request: PageRequest) -> Response:
    """Show the sign-in form; redirect an account that is already signed in."""
    if request.current_account is not None and not request.error:
        return request.redirect(_next_path(request))
    return request.render("signin.html", name=request.form.get("name", ""), next=_next_path(request))


def sign_in(request: PageRequest) -> Response:
    """Start a session."""
    account = verify_password(request, request.form.get("name", ""), SIGN_IN_FAILED)
    return _start_session(request, account, _next_path(request))


def verify_password(request: PageRequest, name: str, error_message: str) -> Account:
    """Return the account of that name if the password in the form is correct; see `password_auth.verify_password`."""
    services = request.services
    return password_auth.verify_password(
        services.database,
        request.session,
        services.rate_limiter,
        name,
        request.form.get("password", ""),
        address=request.client_address,
        error_message=error_message,
    )


def show_sign_up(request: PageRequest) -> Response:
    """Show the sign-up form if the server allows sign-up."""
    if not request.services.settings.allow_sign_up:
        raise NotFoundError("Sign-up is disabled on this server. Ask an admin for an account.")
    return request.render("signup.html", name=request.form.get("name", ""), email=request.form.get("email", ""))


def sign_up(request: PageRequest) -> Response:
    """Create an account and start a session."""
    if not request.services.settings.allow_sign_up:
        raise NotFoundError("Sign-up is disabled on this server. Ask an admin for an account.")
    services = request.services
    account = sign_up_account(
        services.database,
        services.rate_limiter,
        services.settings,
        username=request.form.get("name", ""),
        email=request.form.get("email") or None,
        password=request.form.get("password", ""),
        address=request.client_address,
        now=request.now,
    )
    return _start_session(request, account, "/models")


def show_password_link(request: PageRequest) -> Response:
    """Show the form of a password link that an admin sent."""
    link = find_link(request.session, request.path_param("secret"), request.now)
    return request.render("password_link.html", name=link.account.username)


def choose_password(request: PageRequest) -> Response:
    """Save the password and redirect to the sign-in page."""
    with request.write() as session:
        use_link(session, request.path_param("secret"), request.form.get("password", ""), request.now)
    return request.redirect("/signin", "password-chosen")


def sign_out(request: PageRequest) -> Response:
    """End the session."""
    with request.write() as session:
        end_session(session, request.session_secret)
    response = request.redirect("/signin", "signed-out")
    response.delete_cookie(SESSION_COOKIE)
    return response


def _start_session(request: PageRequest, account: Account, path: str) -> Response:
    with request.write() as session:
        # A new secret, so that one that leaked before the sign-in is useless.
        end_session(session, request.session_secret)
        secret = create_session(session, account, request.now)
    response = request.redirect(path)
    request.set_cookie(response, SESSION_COOKIE, secret, SESSION_HOURS * 3600)
    return response


def _next_path(request: PageRequest) -> str:
    """Return the path to redirect to; only paths of this server are allowed."""
    path = request.form.get("next", "") or request.query_param("next")
    is_local = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if is_local else "/models"
