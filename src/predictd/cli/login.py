"""`predictd login`: keep a server and its token under a name."""

import sys
from typing import Annotated

import typer

from predictd.cli.options import AsJson
from predictd.cli.output import print_json, say
from predictd.client import Client, Token, check_server, keyring_store
from predictd.client.credentials import IN_KEYRING
from predictd.client.profiles import Profile, Profiles


def login(
    server: Annotated[str, typer.Option(help="Address of the server.", envvar="PREDICTD_SERVER", show_default=False)],
    profile: Annotated[str, typer.Option(help="Name to keep it under.")] = "default",
    use_keyring: Annotated[
        bool, typer.Option("--keyring/--no-keyring", help="Keep the token in the system's keyring, if there is one.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Ask for an API token (or read it from standard input), try it, and keep it with the server's address.

    The token is PUBLIC_ID$SECRET_KEY. It is kept in the keyring, where the package keyring is installed and has one,
    else in ~/.config/predictd/config.toml, which nobody but you can read. This profile is the default from now on.

    Example: predictd login --server http://127.0.0.1:8000
    """
    address = check_server(server)
    token = Token.parse(_read_token())
    profiles = Profiles.load().added(Profile(name=profile, server=address), default=True)
    with Client(address, token.header) as client:
        info = client.token_info()
    text = f"{token.public_id}${token.secret_key}"
    is_in_ring = use_keyring and keyring_store.is_available()
    if is_in_ring:
        keyring_store.keep(profile, text)
    kept = IN_KEYRING if is_in_ring else text
    profiles.added(Profile(name=profile, server=address, token=kept), default=True).save()
    where = "the keyring" if is_in_ring else str(profiles.path)
    if as_json:
        print_json({"profile": profile, "server": address, "account": info.account, "scopes": info.scopes})
        return
    say(f"{info.account} at {address}, scopes {', '.join(info.scopes)}.")
    say(f"The token is kept in {where} (profile {profile}).")


def _read_token() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Token (PUBLIC_ID$SECRET_KEY)", hide_input=True, err=True))
    return sys.stdin.readline()
