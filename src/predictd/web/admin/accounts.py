"""Admin pages of accounts: list, create, suspend, and grant admin access."""

import sqlalchemy as sa
from starlette.responses import Response
from starlette.routing import Route

from predictd.admin.suspension import reactivate, suspend
from predictd.db.accounts import create_account, list_tokens, search_accounts, set_admin
from predictd.db.audit_entries import AuditFilter, list_entries
from predictd.db.model_queries import list_models
from predictd.db.models import Account, Model
from predictd.db.password_links import LINK_HOURS, create_link
from predictd.db.queue_stats import storage_by_account
from predictd.domain.errors import ConflictError, NotFoundError
from predictd.http.services import Services
from predictd.web.admin.permissions import admin_form, admin_page, check_confirmed
from predictd.web.request import PageRequest

MAX_ROWS = 50
MAX_ENTRIES = 20


def account_routes(services: Services) -> list[Route]:
    """Return the routes of these pages."""
    return [
        admin_page(services, "/admin/accounts", show_accounts),
        admin_form(services, "/admin/accounts", create, show_accounts),
        admin_page(services, "/admin/accounts/{id}", show_account),
        *(
            admin_form(services, f"/admin/accounts/{{id}}/{action}", handler, show_account)
            for action, handler in {
                "suspend": suspend_account,
                "reactivate": reactivate_account,
                "grant-admin": grant_admin,
                "revoke-admin": revoke_admin,
                "password-link": create_password_link,
            }.items()
        ),
    ]


def show_accounts(request: PageRequest) -> Response:
    """Show the accounts by name."""
    offset, search = request.offset, request.query_param("q").strip()
    accounts = search_accounts(request.session, search, limit=MAX_ROWS + 1, offset=offset)
    ids = [account.id for account in accounts[:MAX_ROWS]]
    counts = request.session.execute(
        sa.select(Model.account_id, sa.func.count()).where(Model.account_id.in_(ids)).group_by(Model.account_id)
    )
    return request.render(
        "admin/accounts.html",
        accounts=accounts[:MAX_ROWS],
        models={row[0]: row[1] for row in counts},
        storage=storage_by_account(request.session, ids),
        search=search,
        previous_offset=max(offset - MAX_ROWS, 0) if offset else None,
        next_offset=offset + MAX_ROWS if len(accounts) > MAX_ROWS else None,
        name=request.form.get("name", ""),
        email=request.form.get("email", ""),
    )


def create(request: PageRequest) -> Response:
    """Create an account without a password and show the link by which its owner chooses one."""
    with request.write() as session:
        email = request.form.get("email", "").strip() or None
        account = create_account(session, request.form.get("name", "").strip(), request.now, email)
        secret = create_link(session, account, request.now)
    request.session.rollback()
    return _show_account(request, account.id, secret)


def show_account(request: PageRequest) -> Response:
    """Show an account."""
    return _show_account(request, request.path_param("id"))


def suspend_account(request: PageRequest) -> Response:
    """Suspend the account."""
    check_confirmed(request)
    with request.write() as session:
        suspend(session, _find_other(request, session), request.now)
    return request.redirect(f"/admin/accounts/{request.path_param('id')}", "suspended")


def reactivate_account(request: PageRequest) -> Response:
    """Reactivate the account."""
    with request.write() as session:
        reactivate(session, _find(session, request.path_param("id")), request.now)
    return request.redirect(f"/admin/accounts/{request.path_param('id')}", "reactivated")


def grant_admin(request: PageRequest) -> Response:
    """Make the account an admin."""
    check_confirmed(request)
    with request.write() as session:
        set_admin(session, _find(session, request.path_param("id")), request.now, is_admin=True)
    return request.redirect(f"/admin/accounts/{request.path_param('id')}", "admin-granted")


def revoke_admin(request: PageRequest) -> Response:
    """Revoke the admin rights of the account."""
    with request.write() as session:
        set_admin(session, _find_other(request, session), request.now, is_admin=False)
    return request.redirect(f"/admin/accounts/{request.path_param('id')}", "admin-revoked")


def create_password_link(request: PageRequest) -> Response:
    """Create a link by which the owner chooses a password, and show it once."""
    with request.write() as session:
        account = _find(session, request.path_param("id"))
        secret = create_link(session, account, request.now)
    request.session.rollback()
    return _show_account(request, account.id, secret)


def _show_account(request: PageRequest, account_id: str, secret: str = "") -> Response:
    account = _find(request.session, account_id)
    return request.render(
        "admin/account.html",
        account=account,
        is_self=account.id == request.account.id,
        models=list_models(request.session, account),
        storage=storage_by_account(request.session, [account.id])[account.id],
        tokens=list_tokens(request.session, account),
        entries=list_entries(request.session, AuditFilter(account_id=account.id), limit=MAX_ENTRIES),
        link=f"{request.base_url}/password/{secret}" if secret else "",
        hours=LINK_HOURS,
    )


def _find(session: sa.orm.Session, account_id: str) -> Account:
    account = session.get(Account, account_id)
    if account is None:
        raise NotFoundError("Account not found.")
    return account


def _find_other(request: PageRequest, session: sa.orm.Session) -> Account:
    """Return the account of the path, which must not be the own one, so that admins can't lock themselves out."""
    account = _find(session, request.path_param("id"))
    if account.id == request.account.id:
        raise ConflictError("You can't do this to your own account. Ask another admin, or use the command line.")
    return account
