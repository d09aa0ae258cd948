"""`predictd account`: who may own models."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.prompt import Prompt

from predictd.admin.suspension import reactivate as reactivate_account
from predictd.admin.suspension import suspend as suspend_account
from predictd.cli.options import AsJson, DataDir, opened
from predictd.cli.output import console, echo, print_json, print_rows, say
from predictd.db.accounts import create_account, create_token, get_account, list_accounts, set_organiser
from predictd.db.password_links import HOURS, make_link
from predictd.db.passwords import check_password, set_password
from predictd.domain.errors import InvalidInputError
from predictd.notifications.addresses import ask_to_confirm
from predictd.server.deployment import server_address

app = typer.Typer(help="Accounts.\n\nExample: predictd account create alice", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the account.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="1 to 40 letters, digits, _ and -.")],
    email: Annotated[str | None, typer.Option(help="Address for notifications, to be confirmed by its owner.")] = None,
    password: Annotated[
        bool, typer.Option("--password", help="Ask for a password for the web page, or read it from standard input.")
    ] = False,
    organiser: Annotated[
        bool, typer.Option("--organiser", help="Let it into the organiser's pages of this server.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make an account with an API token of all scopes, whose secret is shown this once.

    With a password its owner can sign in on the web page too; an organiser needs one.

    Example: predictd account create alice --password
    """
    secret = _read_password() if password else None
    with opened(data_dir) as deployment, deployment.database.write() as session:
        now = datetime.now(UTC)
        account = create_account(session, name, now, email)
        if secret is not None:
            set_password(session, account, secret, now)
        if organiser:
            set_organiser(session, account, now, is_organiser=True)
        if account.email and deployment.settings.smtp_url:
            ask_to_confirm(session, account, now)
        token = create_token(session, account, now)
    if as_json:
        print_json({"username": name, "public_id": token.public_id, "secret_key": token.secret_key})
        return
    say(f"Account {name} is made. Keep its token, the secret is not shown again:")
    echo(f"public_id   {token.public_id}\nsecret_key  {token.secret_key}")


@app.command("password")
def set_password_(
    name: Annotated[str, typer.Argument(help="Name of the account.")],
    data_dir: DataDir = None,
) -> None:
    """Set the password of an account, asked for or read from standard input; its sessions end, its tokens stay.

    Example: predictd account password alice
    """
    secret = _read_password()
    with opened(data_dir) as deployment, deployment.database.write() as session:
        set_password(session, get_account(session, name), secret, datetime.now(UTC))
    say(f"The password of {name} is set.")


@app.command("password-link")
def password_link(
    name: Name,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Print a link by which the owner of an account chooses a password, once and within a day.

    Example: predictd account password-link alice
    """
    with opened(data_dir) as deployment, deployment.database.write() as session:
        secret = make_link(session, get_account(session, name), datetime.now(UTC))
        address = server_address(deployment.settings)
    if as_json:
        print_json({"username": name, "link": f"{address}/password/{secret}", "hours": HOURS})
        return
    say(f"Give this link to {name}; it is good once, for {HOURS} hours:")
    echo(f"{address}/password/{secret}")


@app.command()
def organiser(
    name: Name,
    off: Annotated[bool, typer.Option("--off", help="Let it in no more.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Let an account into the organiser's pages: accounts, rounds, data, runtimes, the queue, health, the audit log.

    Example: predictd account organiser alice
    """
    with opened(data_dir) as deployment, deployment.database.write() as session:
        set_organiser(session, get_account(session, name), datetime.now(UTC), is_organiser=not off)
    say(f"{name} is {'no organiser any more' if off else 'an organiser'}.")


@app.command()
def suspend(
    name: Name,
    data_dir: DataDir = None,
) -> None:
    """Keep an account out: it can't sign in, its tokens are refused, its models don't run. What it has is kept.

    Example: predictd account suspend mallory
    """
    with opened(data_dir) as deployment, deployment.database.write() as session:
        stopped = suspend_account(session, get_account(session, name), datetime.now(UTC))
    say(f"{name} is suspended; {stopped} of its runs were stopped.")


@app.command()
def reactivate(
    name: Name,
    data_dir: DataDir = None,
) -> None:
    """Let a suspended account in again; its models run from the next round on.

    Example: predictd account reactivate mallory
    """
    with opened(data_dir) as deployment, deployment.database.write() as session:
        reactivate_account(session, get_account(session, name), datetime.now(UTC))
    say(f"{name} is in use again.")


def _read_password() -> str:
    """The password: typed twice, or the first line of standard input. Arguments would show in the list of processes."""
    if not sys.stdin.isatty():
        typed = sys.stdin.readline().rstrip("\r\n")
    else:
        typed = Prompt.ask("Password", console=console, password=True)
        if Prompt.ask("The same again", console=console, password=True) != typed:
            raise InvalidInputError("The two passwords differ; nothing was done.")
    check_password(typed)
    return typed


@app.command("list")
def list_(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the accounts.

    Example: predictd account list --json
    """
    with opened(data_dir) as deployment, deployment.database.read() as session:
        rows = [
            {
                "username": one.username,
                "id": one.id,
                "email": one.email,
                "organiser": one.is_organiser,
                "suspended_at": one.suspended_at,
                "inserted_at": one.inserted_at,
            }
            for one in list_accounts(session)
        ]
    print_rows(rows, as_json=as_json, empty="There are no accounts; make one with: predictd account create NAME")
