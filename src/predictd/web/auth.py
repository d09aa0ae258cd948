"""Signing in and out, and signing up where the server allows it."""

from starlette.responses import Response
from starlette.routing import Route

from predictd.api.app import Services
from predictd.db.models import Account
from predictd.db.password_links import find_link, use_link
from predictd.db.sessions import begin_session, end_session
from predictd.domain.errors import NotFoundError
from predictd.http.password_auth import prove
from predictd.http.sign_up import sign_up as sign_up_account
from predictd.web.visits import SESSION_COOKIE, Visit, form_route, page_route

WRONG = "The name or password is incorrect, or the account has no password."


def signing_in_routes(services: Services) -> list[Route]:
    """The routes of these pages."""
    return [
        page_route(services, "/signin", show_sign_in),
        form_route(services, "/signin", sign_in, show_sign_in),
        page_route(services, "/signup", show_sign_up),
        form_route(services, "/signup", sign_up, show_sign_up),
        form_route(services, "/signout", sign_out, show_sign_in),
        page_route(services, "/password/{secret}", show_password_link),
        form_route(services, "/password/{secret}", choose_password, show_password_link),
    ]


def show_sign_in(visit: Visit) -> Response:
    """The form; who is signed in already goes on."""
    if visit.visitor is not None and not visit.error:
        return visit.go(_next(visit))
    return visit.page("signin.html", name=visit.form.get("name", ""), next=_next(visit))


def sign_in(visit: Visit) -> Response:
    """Begin a session."""
    account = proven(visit, visit.form.get("name", ""), WRONG)
    return _signed_in(visit, account, _next(visit))


def proven(visit: Visit, name: str, refusal: str) -> Account:
    """The account of that name whose password stands in the form; see `prove`."""
    services = visit.services
    password, address = visit.form.get("password", ""), visit.address
    return prove(services.database, visit.session, services.attempts, name, password, address=address, refusal=refusal)


def show_sign_up(visit: Visit) -> Response:
    """The form, where anybody may make an account."""
    if not visit.services.settings.sign_up:
        raise NotFoundError("Sign-up is disabled on this server. Ask an admin for an account.")
    return visit.page("signup.html", name=visit.form.get("name", ""), email=visit.form.get("email", ""))


def sign_up(visit: Visit) -> Response:
    """Make an account and begin a session."""
    if not visit.services.settings.sign_up:
        raise NotFoundError("Sign-up is disabled on this server. Ask an admin for an account.")
    services = visit.services
    account = sign_up_account(
        services.database,
        services.attempts,
        services.settings,
        username=visit.form.get("name", ""),
        email=visit.form.get("email") or None,
        password=visit.form.get("password", ""),
        address=visit.address,
        now=visit.now,
    )
    return _signed_in(visit, account, "/models")


def show_password_link(visit: Visit) -> Response:
    """The form of a link that an admin sent."""
    link = find_link(visit.session, visit.part("secret"), visit.now)
    return visit.page("password_link.html", name=link.account.username)


def choose_password(visit: Visit) -> Response:
    """The password is chosen; on to signing in with it."""
    with visit.write() as session:
        use_link(session, visit.part("secret"), visit.form.get("password", ""), visit.now)
    return visit.go("/signin", "password-chosen")


def sign_out(visit: Visit) -> Response:
    """End the session."""
    with visit.write() as session:
        end_session(session, visit.session_secret)
    response = visit.go("/signin", "signed-out")
    response.delete_cookie(SESSION_COOKIE)
    return response


def _signed_in(visit: Visit, account: Account, path: str) -> Response:
    hours = visit.services.settings.session_hours
    with visit.write() as session:
        # Whoever knew the secret of before knows nothing of the new one.
        end_session(session, visit.session_secret)
        secret = begin_session(session, account, visit.now, hours=hours)
    response = visit.go(path)
    visit.set_cookie(response, SESSION_COOKIE, secret, int(hours * 3600))
    return response


def _next(visit: Visit) -> str:
    """Where to go then: a page of this server and nowhere else."""
    wanted = visit.form.get("next", "") or visit.asked("next")
    is_own = wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted and wanted.isprintable()
    return wanted if is_own else "/models"
