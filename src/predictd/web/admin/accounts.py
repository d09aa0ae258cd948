"""Accounts: who there is and what they have; making, suspending, letting in."""

import sqlalchemy as sa
from starlette.responses import Response
from starlette.routing import Route

from predictd.admin.suspension import reactivate, suspend
from predictd.api.app import Services, base_url
from predictd.db.accounts import create_account, list_tokens, page_of_accounts, set_organiser
from predictd.db.audit_entries import Wanted, list_entries
from predictd.db.model_queries import list_models
from predictd.db.models import Account, Model
from predictd.db.password_links import HOURS, make_link
from predictd.db.queue_stats import storage_of
from predictd.domain.errors import ConflictError, NotFoundError
from predictd.web.admin.permissions import admin_form, admin_page, check_confirmed
from predictd.web.visits import Visit

MOST_ROWS = 50
LAST_ENTRIES = 20


def account_routes(services: Services) -> list[Route]:
    """The routes of these pages."""
    return [
        admin_page(services, "/admin/accounts", show_accounts),
        admin_form(services, "/admin/accounts", create, show_accounts),
        admin_page(services, "/admin/accounts/{id}", show_account),
        *(
            admin_form(services, f"/admin/accounts/{{id}}/{name}", take, show_account)
            for name, take in {
                "suspend": suspend_account,
                "reactivate": reactivate_account,
                "grant-admin": grant_admin,
                "revoke-admin": revoke_admin,
                "password-link": link,
            }.items()
        ),
    ]


def show_accounts(visit: Visit) -> Response:
    """A page of them, by name."""
    at, wanted = visit.offset, visit.asked("q").strip()
    found = page_of_accounts(visit.session, wanted, limit=MOST_ROWS + 1, offset=at)
    ids = [one.id for one in found[:MOST_ROWS]]
    models = visit.session.execute(
        sa.select(Model.account_id, sa.func.count()).where(Model.account_id.in_(ids)).group_by(Model.account_id)
    )
    return visit.page(
        "admin/accounts.html",
        accounts=found[:MOST_ROWS],
        models={row[0]: row[1] for row in models},
        storage=storage_of(visit.session, ids),
        wanted=wanted,
        before=max(at - MOST_ROWS, 0) if at else None,
        after=at + MOST_ROWS if len(found) > MOST_ROWS else None,
        name=visit.form.get("name", ""),
        email=visit.form.get("email", ""),
    )


def create(visit: Visit) -> Response:
    """A new account without a password; its page has the link by which its owner chooses one."""
    with visit.write() as session:
        email = visit.form.get("email", "").strip() or None
        account = create_account(session, visit.form.get("name", "").strip(), visit.now, email)
        secret = make_link(session, account, visit.now)
    visit.session.rollback()
    return _shown(visit, account.id, secret)


def show_account(visit: Visit) -> Response:
    """One of them."""
    return _shown(visit, visit.part("id"))


def suspend_account(visit: Visit) -> Response:
    """Keep it out."""
    check_confirmed(visit)
    with visit.write() as session:
        suspend(session, _other(visit, session), visit.now)
    return visit.go(f"/admin/accounts/{visit.part('id')}", "suspended")


def reactivate_account(visit: Visit) -> Response:
    """Let it in again."""
    with visit.write() as session:
        reactivate(session, _find(session, visit.part("id")), visit.now)
    return visit.go(f"/admin/accounts/{visit.part('id')}", "reactivated")


def grant_admin(visit: Visit) -> Response:
    """Make the account an admin."""
    check_confirmed(visit)
    with visit.write() as session:
        set_organiser(session, _find(session, visit.part("id")), visit.now, is_organiser=True)
    return visit.go(f"/admin/accounts/{visit.part('id')}", "admin-granted")


def revoke_admin(visit: Visit) -> Response:
    """Revoke the admin rights of the account."""
    with visit.write() as session:
        set_organiser(session, _other(visit, session), visit.now, is_organiser=False)
    return visit.go(f"/admin/accounts/{visit.part('id')}", "admin-revoked")


def link(visit: Visit) -> Response:
    """A link by which its owner chooses a password, shown this once."""
    with visit.write() as session:
        account = _find(session, visit.part("id"))
        secret = make_link(session, account, visit.now)
    visit.session.rollback()
    return _shown(visit, account.id, secret)


def _shown(visit: Visit, key: str, secret: str = "") -> Response:
    account = _find(visit.session, key)
    address = base_url(visit.request, visit.services.settings)
    return visit.page(
        "admin/account.html",
        account=account,
        is_self=account.id == visit.account.id,
        models=list_models(visit.session, account),
        storage=storage_of(visit.session, [account.id])[account.id],
        tokens=list_tokens(visit.session, account),
        entries=list_entries(visit.session, Wanted(account_id=account.id), limit=LAST_ENTRIES),
        link=f"{address}/password/{secret}" if secret else "",
        hours=HOURS,
    )


def _find(session: sa.orm.Session, key: str) -> Account:
    account = session.get(Account, key)
    if account is None:
        raise NotFoundError("Account not found.")
    return account


def _other(visit: Visit, session: sa.orm.Session) -> Account:
    """The account of the path, which must not be one's own: nobody locks themselves out."""
    account = _find(session, visit.part("id"))
    if account.id == visit.account.id:
        raise ConflictError("You can't do this to your own account. Ask another admin, or use the command line.")
    return account
