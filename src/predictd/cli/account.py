"""`predictd account`: who may own models."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.prompt import Prompt

from predictd.cli.options import AsJson, DataDir, opened
from predictd.cli.output import console, print_json, print_rows, say
from predictd.db.accounts import create_account, create_token, get_account, list_accounts
from predictd.db.passwords import check_password, set_password
from predictd.domain.errors import InvalidInputError
from predictd.notify.addresses import ask_to_confirm

app = typer.Typer(help="Accounts.\n\nExample: predictd account create alice", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="1 to 40 letters, digits, _ and -.")],
    email: Annotated[str | None, typer.Option(help="Address for notifications, to be confirmed by its owner.")] = None,
    password: Annotated[
        bool, typer.Option("--password", help="Ask for a password for the web page, or read it from standard input.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make an account with an API token of all scopes, whose secret is shown this once.

    With a password its owner can sign in on the web page too.

    Example: predictd account create alice --password
    """
    secret = _read_password() if password else None
    with opened(data_dir) as deployment, deployment.database.write() as session:
        now = datetime.now(UTC)
        account = create_account(session, name, now, email)
        if secret is not None:
            set_password(session, account, secret, now)
        if account.email and deployment.settings.smtp_url:
            ask_to_confirm(session, account, now)
        token = create_token(session, account, now)
    if as_json:
        print_json({"username": name, "public_id": token.public_id, "secret_key": token.secret_key})
        return
    say(f"Account {name} is made. Keep its token, the secret is not shown again:")
    typer.echo(f"public_id   {token.public_id}\nsecret_key  {token.secret_key}")


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
            {"username": one.username, "id": one.id, "email": one.email, "inserted_at": one.inserted_at}
            for one in list_accounts(session)
        ]
    print_rows(rows, as_json=as_json, empty="There are no accounts; make one with: predictd account create NAME")
