"""`predictd login`: save the address and the token of a server as a profile."""

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
    profile: Annotated[str, typer.Option(help="Name of the profile to save.")] = "default",
    use_keyring: Annotated[
        bool, typer.Option("--keyring/--no-keyring", help="Store the token in the system keyring, if there is one.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Prompt for an API token (or read it from standard input), verify it, and save it with the server's address.

    The token has the form PUBLIC_ID$SECRET_KEY. It is stored in the system keyring if the package keyring is installed,
    otherwise in ~/.config/predictd/config.toml, which only you can read. The profile becomes the default.

    Example: predictd login --server http://127.0.0.1:8000
    """
    address = check_server(server)
    token = Token.parse(_read_token())
    profiles = Profiles.load().with_profile(Profile(name=profile, server=address), default=True)
    with Client(address, token.header) as client:
        info = client.token_info()
    text = f"{token.public_id}${token.secret_key}"
    uses_keyring = use_keyring and keyring_store.is_available()
    if uses_keyring:
        keyring_store.save(profile, text)
    reference = IN_KEYRING if uses_keyring else text
    profiles.with_profile(Profile(name=profile, server=address, token=reference), default=True).save()
    location = "the keyring" if uses_keyring else str(profiles.path)
    if as_json:
        print_json({"profile": profile, "server": address, "account": info.account, "scopes": info.scopes})
        return
    say(f"{info.account} at {address}, scopes {', '.join(info.scopes)}.")
    say(f"Saved the token in {location} (profile {profile}).")


def _read_token() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Token (PUBLIC_ID$SECRET_KEY)", hide_input=True, err=True))
    return sys.stdin.readline()
