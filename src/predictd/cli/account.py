"""`predictd account`: who may own models."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from predictd.cli.options import AsJson, DataDir, opened
from predictd.cli.output import print_json, print_rows, say
from predictd.db.accounts import create_account, create_token, list_accounts

app = typer.Typer(help="Accounts.\n\nExample: predictd account create alice", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="1 to 40 letters, digits, _ and -.")],
    email: Annotated[str | None, typer.Option(help="Address for notifications.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make an account with an API token of all scopes, whose secret is shown this once.

    Example: predictd account create alice --json
    """
    with opened(data_dir) as deployment, deployment.database.write() as session:
        now = datetime.now(UTC)
        account = create_account(session, name, now, email)
        token = create_token(session, account, now)
    if as_json:
        print_json({"username": name, "public_id": token.public_id, "secret_key": token.secret_key})
        return
    say(f"Account {name} is made. Keep its token, the secret is not shown again:")
    typer.echo(f"public_id   {token.public_id}\nsecret_key  {token.secret_key}")


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
