"""`predictd profile`: servers by name."""

from typing import Annotated

import typer

from predictd.cli.options import AsJson
from predictd.cli.output import print_rows, say
from predictd.client import check_server, keyring_store
from predictd.client.credentials import IN_ENVIRONMENT, IN_KEYRING
from predictd.client.profiles import Profile, Profiles
from predictd.domain.errors import NotFoundError

app = typer.Typer(help="Servers by name.\n\nExample: predictd profile list", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the profile.", show_default=False)]


@app.command()
def add(
    name: Name,
    server: Annotated[str, typer.Option(help="Address of the server.", show_default=False)],
    token_env: Annotated[
        str | None, typer.Option("--token-env", help="Environment variable that will hold the token.")
    ] = None,
) -> None:
    """Add a server by name, without a token or with one from the environment; `predictd login` keeps a token too.

    Example: predictd profile add work --server https://models.example.org --token-env WORK_TOKEN
    """
    token = f"{IN_ENVIRONMENT}{token_env}" if token_env else None
    Profiles.load().added(Profile(name=name, server=check_server(server), token=token)).save()
    say(f"Profile {name} is added; use it with --profile {name}, or always with: predictd profile use {name}")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the profiles; tokens are not shown.

    Example: predictd profile list --json
    """
    profiles = Profiles.load()
    rows = [
        {"name": one.name, "server": one.server, "token": _where(one), "default": one.name == profiles.default}
        for one in profiles
    ]
    print_rows(rows, as_json=as_json, empty="There is no profile; keep one with: predictd login --server URL")


@app.command()
def use(name: Name) -> None:
    """Make a profile the one that is meant where none is named.

    Example: predictd profile use work
    """
    profiles = Profiles.load()
    profiles.added(_find(profiles, name), default=True).save()
    say(f"Profile {name} is the default.")


@app.command()
def remove(name: Name) -> None:
    """Remove a profile with its token; the token itself stays good until it is revoked on the server.

    Example: predictd profile remove work
    """
    profiles = Profiles.load()
    if _find(profiles, name).token == IN_KEYRING:
        keyring_store.forget(name)
    profiles.removed(name).save()
    say(f"Profile {name} is removed.")


def _find(profiles: Profiles, name: str) -> Profile:
    found = profiles.get(name)
    if found is None:
        raise NotFoundError(f"There is no profile {name!r}; see: predictd profile list")
    return found


def _where(profile: Profile) -> str | None:
    """Where the token is, for a list."""
    if profile.token is None or profile.token == IN_KEYRING:
        return profile.token
    return profile.token if profile.token.startswith(IN_ENVIRONMENT) else "in the file"
