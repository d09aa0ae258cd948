"""The server and the token to use, from arguments, the environment or a profile."""

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from predictd.client import keyring_store
from predictd.client.profiles import Profile, Profiles
from predictd.domain.errors import InvalidInputError, NotFoundError, SetupError

IN_KEYRING = "keyring"
IN_ENVIRONMENT = "env:"
NUMERAI_DOMAIN = "numer.ai"


@dataclass(frozen=True)
class Token:
    """An API token: `PUBLIC_ID$SECRET_KEY`."""

    public_id: str
    secret_key: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "Token":
        """Parse `PUBLIC_ID$SECRET_KEY`, with or without the prefix `Token`.

        Raises:
            InvalidInputError: The text does not have that form.
        """
        words = text.split()
        while len(words) > 1 and words[0].lower() in {"token", "bearer"}:
            words = words[1:]
        public_id, _, secret_key = words[0].partition("$") if len(words) == 1 else ("", "", "")
        if not (public_id and secret_key) or not text.isascii():
            raise InvalidInputError(
                "The API token is invalid. Use the form PUBLIC_ID$SECRET_KEY (in a shell, in single quotes for the $)."
            )
        return cls(public_id, secret_key)

    @property
    def header(self) -> str:
        """Value of the header Authorization."""
        return f"Token {self.public_id}${self.secret_key}"


@dataclass(frozen=True, kw_only=True)
class Access:
    """A server, the token for it (None if there is none), and the name of the profile in use."""

    server: str
    token: Token | None
    profile: str | None


def find_access(server: str | None = None, token: "str | Token | None" = None, profile: str | None = None) -> Access:
    """Find the server and the token.

    The server is the argument, the server of the profile, `PREDICTD_SERVER`, or the server of the default profile. The
    token is the argument, the token of a profile that was named explicitly, `PREDICTD_TOKEN`, the token of a profile
    for this server, or, only for Numerai's own hosts, `NUMERAI_PUBLIC_ID` with `NUMERAI_SECRET_KEY`. A token of one
    server is never sent to another: if `PREDICTD_SERVER` is set, `PREDICTD_TOKEN` belongs to that server.

    Raises:
        InvalidInputError: No server is configured, or a value is invalid.
        NotFoundError: The profile does not exist.
        SetupError: Other users can read the profiles, or a profile's token is missing.
    """
    profiles = Profiles.load()
    explicit = profile or os.environ.get("PREDICTD_PROFILE") or None
    chosen = _get_profile(profiles, explicit) if explicit else None
    url = server or (chosen.server if chosen else None) or os.environ.get("PREDICTD_SERVER")
    if not url and profiles.default:
        chosen = _get_profile(profiles, profiles.default)
        url = chosen.server
    if not url:
        raise InvalidInputError(
            "No server is configured. Use --server URL, set PREDICTD_SERVER, or save it with: predictd login --server "
            "URL"
        )
    address = check_server(url)
    if chosen is None or chosen.server != address:
        if explicit:
            raise InvalidInputError(
                f"The profile {explicit} is for {chosen and chosen.server}, not for {address}. Use only one of them."
            )
        chosen = profiles.of_server(address)
    access_token = Token.parse(token) if isinstance(token, str) else token
    access_token = access_token or (_profile_token(chosen) if explicit else None)
    access_token = access_token or _environment_token(address) or _profile_token(chosen) or _numerai_token(address)
    return Access(server=address, token=access_token, profile=chosen.name if chosen else None)


def check_server(text: str) -> str:
    """Return the address of a server without a trailing slash.

    Raises:
        InvalidInputError: The text is not an http or https URL.
    """
    address = text.strip().rstrip("/")
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or not address.isprintable():
        raise InvalidInputError(f"{text[:100]!r} is not a server address. Use a URL such as http://127.0.0.1:8000.")
    return address


def _get_profile(profiles: Profiles, name: str) -> Profile:
    profile = profiles.get(name)
    if profile is None:
        names = ", ".join(profile.name for profile in profiles.profiles) or "none"
        raise NotFoundError(
            f"There is no profile {name!r}; your profiles: {names}. Create it with: predictd profile add {name}"
        )
    return profile


def _environment_token(server: str) -> Token | None:
    """Return the token of `PREDICTD_TOKEN`, unless `PREDICTD_SERVER` is a different server."""
    text, owner = os.environ.get("PREDICTD_TOKEN"), os.environ.get("PREDICTD_SERVER")
    return Token.parse(text) if text and (not owner or check_server(owner) == server) else None


def _numerai_token(server: str) -> Token | None:
    """Return the token in the environment variables of numerapi, only for Numerai's own hosts over https."""
    parts = urlsplit(server)
    host = (parts.hostname or "").lower()
    if parts.scheme != "https" or not (host == NUMERAI_DOMAIN or host.endswith(f".{NUMERAI_DOMAIN}")):
        return None
    public_id, secret_key = os.environ.get("NUMERAI_PUBLIC_ID"), os.environ.get("NUMERAI_SECRET_KEY")
    return Token(public_id, secret_key) if public_id and secret_key else None


def _profile_token(profile: Profile | None) -> Token | None:
    """Return the token of a profile: its own, or the one in the environment or the keyring that it refers to."""
    if profile is None or not profile.token:
        return None
    if profile.token.startswith(IN_ENVIRONMENT):
        name = profile.token.removeprefix(IN_ENVIRONMENT)
        text = os.environ.get(name)
        if not text:
            raise SetupError(f"The variable {name} with the token of profile {profile.name} is not set. Set it.")
        return Token.parse(text)
    if profile.token != IN_KEYRING:
        return Token.parse(profile.token)
    text = keyring_store.read(profile.name)
    if not text:
        raise SetupError(
            f"The token of profile {profile.name} is not in the keyring. "
            f"Save it again with: predictd login --server {profile.server} --profile {profile.name}"
        )
    return Token.parse(text)
