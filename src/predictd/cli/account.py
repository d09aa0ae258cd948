"""`predictd account`: accounts, their passwords and rights."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.prompt import Prompt

from predictd.admin.suspension import reactivate as reactivate_account
from predictd.admin.suspension import suspend as suspend_account
from predictd.cli.deployment_access import use_deployment
from predictd.cli.options import AccountName, AsJson, DataDir
from predictd.cli.output import console, echo, print_json, print_rows, say
from predictd.db.accounts import create_account, create_token, get_account, list_accounts, set_admin
from predictd.db.password_links import LINK_HOURS, create_link
from predictd.db.passwords import check_password, set_password
from predictd.domain.errors import InvalidInputError
from predictd.notifications.email_addresses import send_confirmation
from predictd.server.deployment import server_address

app = typer.Typer(help="Accounts.\n\nExample: predictd account create alice", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[
        str, typer.Argument(metavar="ACCOUNT", help="1 to 40 letters, digits, _ and -.", show_default=False)
    ],
    email: Annotated[
        str | None, typer.Option(help="E-mail address for notifications; the owner must confirm it.")
    ] = None,
    password: Annotated[
        bool, typer.Option("--password", help="Prompt for a password, or read it from standard input.")
    ] = False,
    admin: Annotated[bool, typer.Option("--admin", help="Make the account an admin of this server.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Create an account and an API token with all scopes. The token's secret is shown only once.

    A password is needed to sign in on the web pages, and so for the admin pages.

    Example: predictd account create alice --password
    """
    secret = _read_password() if password else None
    with use_deployment(data_dir) as deployment, deployment.database.write() as session:
        now = datetime.now(UTC)
        account = create_account(session, name, now, email)
        if secret is not None:
            set_password(session, account, secret, now)
        if admin:
            set_admin(session, account, now, is_admin=True)
        if account.email and deployment.settings.smtp_url:
            send_confirmation(session, account, now)
        token = create_token(session, account, now)
    if as_json:
        print_json({"username": name, "public_id": token.public_id, "secret_key": token.secret_key})
        return
    say(f"Created account {name}. Save its token; the secret is not shown again:")
    echo(f"public_id   {token.public_id}\nsecret_key  {token.secret_key}")


@app.command("password")
def set_password_(name: AccountName, data_dir: DataDir = None) -> None:
    """Set the password of an account, from a prompt or standard input.

    The account is signed out everywhere; its tokens remain valid.

    Example: predictd account password alice
    """
    secret = _read_password()
    with use_deployment(data_dir) as deployment, deployment.database.write() as session:
        set_password(session, get_account(session, name), secret, datetime.now(UTC))
    say(f"Set the password of {name}.")


@app.command("password-link")
def password_link(name: AccountName, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Print a link with which the owner of an account sets a password. It works once and expires after a day.

    Example: predictd account password-link alice
    """
    with use_deployment(data_dir) as deployment, deployment.database.write() as session:
        secret = create_link(session, get_account(session, name), datetime.now(UTC))
        address = server_address(deployment.settings)
    if as_json:
        print_json({"username": name, "link": f"{address}/password/{secret}", "hours": LINK_HOURS})
        return
    say(f"Give this link to {name}; it works once, within {LINK_HOURS} hours:")
    echo(f"{address}/password/{secret}")


@app.command()
def admin(
    name: AccountName,
    off: Annotated[bool, typer.Option("--off", help="Remove the account from the admins.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Make an account an admin: it may use the admin pages for accounts, rounds, data, runtimes, queue and audit log.

    Example: predictd account admin alice
    """
    with use_deployment(data_dir) as deployment, deployment.database.write() as session:
        set_admin(session, get_account(session, name), datetime.now(UTC), is_admin=not off)
    say(f"{name} is {'no longer' if off else 'now'} an admin.")


@app.command()
def suspend(name: AccountName, data_dir: DataDir = None) -> None:
    """Suspend an account: it can't sign in, its tokens are rejected and its models don't run. Nothing is deleted.

    Example: predictd account suspend mallory
    """
    with use_deployment(data_dir) as deployment, deployment.database.write() as session:
        cancelled = suspend_account(session, get_account(session, name), datetime.now(UTC))
    say(f"Suspended {name} and cancelled {cancelled} of its runs.")


@app.command()
def reactivate(name: AccountName, data_dir: DataDir = None) -> None:
    """Reactivate a suspended account. Its models run again from the next round.

    Example: predictd account reactivate mallory
    """
    with use_deployment(data_dir) as deployment, deployment.database.write() as session:
        reactivate_account(session, get_account(session, name), datetime.now(UTC))
    say(f"Reactivated {name}.")


def _read_password() -> str:
    """Prompt for the password twice, or read the first line of standard input; other users can see arguments."""
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = Prompt.ask("Password", console=console, password=True)
        if Prompt.ask("Repeat password", console=console, password=True) != password:
            raise InvalidInputError("The passwords differ; nothing was changed. Run the command again.")
    check_password(password)
    return password


@app.command("list")
def list_(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the accounts.

    Example: predictd account list --json
    """
    with use_deployment(data_dir) as deployment, deployment.database.read() as session:
        rows = [
            {
                "username": account.username,
                "id": account.id,
                "email": account.email,
                "admin": account.is_admin,
                "suspended_at": account.suspended_at,
                "inserted_at": account.inserted_at,
            }
            for account in list_accounts(session)
        ]
    print_rows(rows, as_json=as_json, empty="There are no accounts; create one with: predictd account create NAME")
