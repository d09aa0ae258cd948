"""The account: its API tokens, the configuration of MCP clients, its password."""

import json

from starlette.responses import Response
from starlette.routing import Route

from predictd.api.app import Services, base_url
from predictd.db.accounts import NewToken, create_token, list_tokens, revoke_token
from predictd.db.models import Account
from predictd.db.passwords import set_password
from predictd.db.sessions import begin_session
from predictd.domain.scopes import SCOPES
from predictd.web.auth import proven
from predictd.web.visits import SESSION_COOKIE, Visit, form_route, page_route

# What an agent needs, without the scope that is of no use here.
MCP_SCOPES = tuple(scope for scope in SCOPES if scope != "stake")


def account_routes(services: Services) -> list[Route]:
    """The routes of these pages."""
    return [
        page_route(services, "/account", show_account),
        form_route(services, "/account/tokens", make_token, show_account),
        form_route(services, "/account/tokens/{id}/revoke", revoke, show_account),
        form_route(services, "/account/password", change_password, show_account),
    ]


def show_account(visit: Visit, new: NewToken | None = None) -> Response:
    """The whole page; `new` is a token that was just made, which is shown this once."""
    tokens = list_tokens(visit.session, visit.account)
    address = base_url(visit.request, visit.services.settings)
    return visit.page(
        "account.html",
        tokens=tokens,
        scopes=SCOPES,
        mcp_scopes=MCP_SCOPES,
        new=new,
        address=address,
        configurations=_configurations(address, new),
    )


def make_token(visit: Visit) -> Response:
    """Make a token and show it. Reloading the page would send the form again, but the secret can't be looked up."""
    scopes = [scope for scope in SCOPES if visit.form.get(f"scope-{scope}")]
    with visit.write() as session:
        new = create_token(
            session, session.get_one(Account, visit.account.id), visit.now, visit.form.get("name", "").strip(), scopes
        )
    visit.session.rollback()
    return show_account(visit, new)


def revoke(visit: Visit) -> Response:
    """End a token."""
    with visit.write() as session:
        revoke_token(session, visit.part("id"), visit.now, visit.account)
    return visit.go("/account", "token-revoked")


def change_password(visit: Visit) -> Response:
    """Another password, for whoever knows the one of now; the sessions of before end, this one goes on as a new one."""
    proven(visit, visit.account.username, "The current password is incorrect. Nothing was changed.")
    hours = visit.services.settings.session_hours
    with visit.write() as session:
        account = session.get_one(Account, visit.account.id)
        set_password(session, account, visit.form.get("new", ""), visit.now)
        secret = begin_session(session, account, visit.now, hours=hours)
    response = visit.go("/account", "password")
    visit.set_cookie(response, SESSION_COOKIE, secret, int(hours * 3600))
    return response


def _configurations(address: str, new: NewToken | None) -> dict[str, str]:
    """What to paste into the common MCP clients, by their names."""
    token = f"{new.public_id}${new.secret_key}" if new is not None else "PUBLIC_ID$SECRET_KEY"
    url, header = f"{address}/mcp", f"Token {token}"
    return {
        "Claude Code": f'claude mcp add --transport http predictd {url} --header "Authorization: {_quoted(header)}"',
        "Cursor, and others with mcp.json": json.dumps(
            {"mcpServers": {"predictd": {"url": url, "headers": {"Authorization": header}}}}, indent=2
        ),
        "Codex (~/.codex/config.toml)": "\n".join(
            (
                "[mcp_servers.predictd]",
                f"url = {json.dumps(url)}",
                f"http_headers = {{ Authorization = {json.dumps(header)} }}",
            )
        ),
        "Gemini CLI (~/.gemini/settings.json)": json.dumps(
            {"mcpServers": {"predictd": {"httpUrl": url, "headers": {"Authorization": header}}}}, indent=2
        ),
        "VS Code": json.dumps(
            {"servers": {"predictd": {"type": "http", "url": url, "headers": {"Authorization": header}}}}, indent=2
        ),
        "Claude Desktop, and others that start a program (predictd installed)": json.dumps(
            {
                "mcpServers": {
                    "predictd": {
                        "command": "predictd",
                        "args": ["mcp", "--server", address],
                        "env": {"PREDICTD_TOKEN": token},
                    }
                }
            },
            indent=2,
        ),
    }


def _quoted(text: str) -> str:
    """For the inside of double quotes of a shell."""
    return text.replace("$", "\\$")
