"""The account page: API tokens, the configuration of MCP clients, and the password."""

import json

from starlette.responses import Response
from starlette.routing import Route

from predictd.db.accounts import NewToken, create_token, list_tokens, revoke_token
from predictd.db.models import Account
from predictd.db.passwords import set_password
from predictd.db.sessions import SESSION_HOURS, create_session
from predictd.domain.scopes import SCOPES
from predictd.http.services import Services
from predictd.web.auth import verify_password
from predictd.web.dispatch import page_route
from predictd.web.forms import form_route
from predictd.web.request import SESSION_COOKIE, PageRequest

# Agents have no use for stakes.
MCP_SCOPES = tuple(scope for scope in SCOPES if scope != "stake")


def account_routes(services: Services) -> list[Route]:
    """Return the routes of these pages."""
    return [
        page_route(services, "/account", show_account),
        form_route(services, "/account/tokens", create_api_token, show_account),
        form_route(services, "/account/tokens/{id}/revoke", revoke_api_token, show_account),
        form_route(services, "/account/password", change_password, show_account),
    ]


def show_account(request: PageRequest, new: NewToken | None = None) -> Response:
    """Show the page; `new` is a token that was just created, whose secret is shown only now."""
    tokens = list_tokens(request.session, request.account)
    base_url = request.base_url
    return request.render(
        "account.html",
        tokens=tokens,
        scopes=SCOPES,
        mcp_scopes=MCP_SCOPES,
        new=new,
        configurations=_configurations(base_url, new),
    )


def create_api_token(request: PageRequest) -> Response:
    """Create a token and show it without a redirect, because its secret can't be read again."""
    scopes = [scope for scope in SCOPES if request.form.get(f"scope-{scope}")]
    with request.write() as session:
        account = session.get_one(Account, request.account.id)
        new = create_token(session, account, request.now, request.form.get("name", "").strip(), scopes)
    request.session.rollback()
    return show_account(request, new)


def revoke_api_token(request: PageRequest) -> Response:
    """Revoke a token."""
    with request.write() as session:
        revoke_token(session, request.path_param("id"), request.now, request.account)
    return request.redirect("/account", "token-revoked")


def change_password(request: PageRequest) -> Response:
    """Change the password, which ends all sessions, and start a new session for this browser."""
    verify_password(request, request.account.username, "The current password is incorrect. Nothing was changed.")
    with request.write() as session:
        account = session.get_one(Account, request.account.id)
        set_password(session, account, request.form.get("new", ""), request.now)
        secret = create_session(session, account, request.now)
    response = request.redirect("/account", "password")
    request.set_cookie(response, SESSION_COOKIE, secret, SESSION_HOURS * 3600)
    return response


def _configurations(base_url: str, new: NewToken | None) -> dict[str, str]:
    """Return the configuration of the common MCP clients by their names."""
    token = f"{new.public_id}${new.secret_key}" if new is not None else "PUBLIC_ID$SECRET_KEY"
    url, header = f"{base_url}/mcp", f"Token {token}"
    shell_header = _shell_escaped(f"Authorization: {header}")
    return {
        "Claude Code": f'claude mcp add --transport http predictd {url} --header "{shell_header}"',
        "Cursor and other clients with mcp.json": json.dumps(
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
        "Claude Desktop and other clients that start a command (requires predictd)": json.dumps(
            {
                "mcpServers": {
                    "predictd": {
                        "command": "predictd",
                        "args": ["mcp", "--server", base_url],
                        "env": {"PREDICTD_TOKEN": token},
                    }
                }
            },
            indent=2,
        ),
    }


def _shell_escaped(text: str) -> str:
    """Escape text for double quotes in a shell."""
    return text.replace("$", "\\$")
