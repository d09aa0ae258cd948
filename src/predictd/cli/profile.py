"""`predictd profile`: saved servers and their tokens."""

from typing import Annotated

import typer

from predictd.cli.options import AsJson
from predictd.cli.output import print_rows, say
from predictd.client import check_server, keyring_store
from predictd.client.credentials import IN_ENVIRONMENT, IN_KEYRING
from predictd.client.profiles import Profile, Profiles
from predictd.domain.errors import NotFoundError

app = typer.Typer(
    help="Profiles: saved servers and their tokens.\n\nExample: predictd profile list", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="Name of the profile.", show_default=False)]


@app.command()
def add(
    name: Name,
    server: Annotated[str, typer.Option(help="Address of the server.", show_default=False)],
    token_env: Annotated[str | None, typer.Option("--token-env", help="Environment variable with the token.")] = None,
) -> None:
    """Create a profile without a token, or with one from the environment. `predictd login` also saves a token.

    Example: predictd profile add work --server https://models.example.org --token-env WORK_TOKEN
    """
    token = f"{IN_ENVIRONMENT}{token_env}" if token_env else None
    Profiles.load().with_profile(Profile(name=name, server=check_server(server), token=token)).save()
    say(f"Created profile {name}. Use it with --profile {name}, or make it the default: predictd profile use {name}")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the profiles, without their tokens.

    Example: predictd profile list --json
    """
    profiles = Profiles.load()
    rows = [
        {
            "name": profile.name,
            "server": profile.server,
            "token": _token_location(profile),
            "default": profile.name == profiles.default,
        }
        for profile in profiles
    ]
    print_rows(rows, as_json=as_json, empty="There are no profiles; create one with: predictd login --server URL")


@app.command()
def use(name: Name) -> None:
    """Make a profile the default.

    Example: predictd profile use work
    """
    profiles = Profiles.load()
    profiles.with_profile(_get(profiles, name), default=True).save()
    say(f"Profile {name} is now the default.")


@app.command()
def remove(name: Name) -> None:
    """Remove a profile and its saved token. The token remains valid until it is revoked on the server.

    Example: predictd profile remove work
    """
    profiles = Profiles.load()
    if _get(profiles, name).token == IN_KEYRING:
        keyring_store.delete(name)
    profiles.without_profile(name).save()
    say(f"Removed profile {name}.")


def _get(profiles: Profiles, name: str) -> Profile:
    profile = profiles.get(name)
    if profile is None:
        raise NotFoundError(f"There is no profile {name!r}. List them with: predictd profile list")
    return profile


def _token_location(profile: Profile) -> str | None:
    """Describe where the token is, without the token itself."""
    if profile.token is None or profile.token == IN_KEYRING:
        return profile.token
    return profile.token if profile.token.startswith(IN_ENVIRONMENT) else "in the file"
