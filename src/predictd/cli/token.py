"""`predictd token`: the API tokens of accounts."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from predictd.cli.options import AsJson, DataDir, opened
from predictd.cli.output import echo, print_json, print_rows, say
from predictd.db.accounts import create_token, get_account, list_tokens, revoke_token
from predictd.domain.scopes import SCOPES

app = typer.Typer(
    help="API tokens.\n\nExample: predictd token create alice --scope upload_submission", no_args_is_help=True
)

AccountName = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Name of the account.")]


@app.command()
def create(
    account: AccountName,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", "--scopes", help=f"One of {', '.join(SCOPES)}; repeat for several; default all."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the token, for people.")] = "default",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make an API token, whose secret is shown this once.

    Example: predictd token create alice --name laptop --scope upload_submission --scope read_submission_info
    """
    scopes = [part for one in scope for part in one.replace(",", " ").split()] if scope else None
    with opened(data_dir) as deployment, deployment.database.write() as session:
        owner = get_account(session, account)
        token = create_token(session, owner, datetime.now(UTC), name, scopes)
    if as_json:
        print_json(
            {
                "username": owner.username,
                "name": token.name,
                "public_id": token.public_id,
                "secret_key": token.secret_key,
                "scopes": token.scopes,
            }
        )
        return
    say("The token is made. Keep it, the secret is not shown again:")
    echo(f"public_id   {token.public_id}\nsecret_key  {token.secret_key}\nscopes      {', '.join(token.scopes)}")


@app.command("list")
def list_(
    account: Annotated[str | None, typer.Argument(metavar="ACCOUNT", help="Name of the account; all, if none.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the tokens that are not revoked; secrets are stored nowhere.

    Example: predictd token list alice
    """
    with opened(data_dir) as deployment, deployment.database.read() as session:
        owner = get_account(session, account) if account else None
        rows = [
            {
                "username": one.account.username,
                "name": one.name,
                "public_id": one.public_id,
                "scopes": one.scopes,
                "inserted_at": one.inserted_at,
            }
            for one in list_tokens(session, owner)
        ]
    print_rows(rows, as_json=as_json, empty="There are no tokens; make one with: predictd token create ACCOUNT")


@app.command()
def revoke(
    public_id: Annotated[str, typer.Argument(help="The token's public id.")],
    data_dir: DataDir = None,
) -> None:
    """End a token at once.

    Example: predictd token revoke 7K3F...
    """
    with opened(data_dir) as deployment, deployment.database.write() as session:
        revoke_token(session, public_id, datetime.now(UTC))
    say(f"Token {public_id} is revoked.")
