"""`predictd token`: API tokens of accounts."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from predictd.cli.deployment_access import use_deployment
from predictd.cli.options import AccountName, AsJson, DataDir
from predictd.cli.output import echo, print_json, print_rows, say
from predictd.db.accounts import create_token, get_account, list_tokens, revoke_token
from predictd.domain.scopes import SCOPES

app = typer.Typer(
    help="API tokens.\n\nExample: predictd token create alice --scope upload_submission", no_args_is_help=True
)


@app.command()
def create(
    account: AccountName,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope", "--scopes", help=f"One of {', '.join(SCOPES)}; repeat for several.", show_default="all"
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the token, to recognize it.")] = "default",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Create an API token. Its secret is shown only once.

    Example: predictd token create alice --name laptop --scope upload_submission --scope read_submission_info
    """
    scopes = [part for text in scope for part in text.replace(",", " ").split()] if scope else None
    with use_deployment(data_dir) as deployment, deployment.database.write() as session:
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
    say("Created the token. Save it; the secret is not shown again:")
    echo(f"public_id   {token.public_id}\nsecret_key  {token.secret_key}\nscopes      {', '.join(token.scopes)}")


@app.command("list")
def list_(
    account: Annotated[
        str | None, typer.Argument(metavar="ACCOUNT", help="Name of the account.", show_default="all")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the tokens that are not revoked. Their secrets are not stored and can't be shown.

    Example: predictd token list alice
    """
    with use_deployment(data_dir) as deployment, deployment.database.read() as session:
        owner = get_account(session, account) if account else None
        rows = [
            {
                "username": token.account.username,
                "name": token.name,
                "public_id": token.public_id,
                "scopes": token.scopes,
                "inserted_at": token.inserted_at,
            }
            for token in list_tokens(session, owner)
        ]
    print_rows(rows, as_json=as_json, empty="There are no tokens; create one with: predictd token create ACCOUNT")


@app.command()
def revoke(
    public_id: Annotated[str, typer.Argument(help="Public id of the token.", show_default=False)],
    data_dir: DataDir = None,
) -> None:
    """Revoke a token immediately.

    Example: predictd token revoke 7K3F...
    """
    with use_deployment(data_dir) as deployment, deployment.database.write() as session:
        revoke_token(session, public_id, datetime.now(UTC))
    say(f"Revoked token {public_id}.")
