"""Which server is meant and with which token: from arguments, the environment, a profile."""

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
        """Read `PUBLIC_ID$SECRET_KEY`, also with `Token` in front, once or twice.

        Raises:
            InvalidInputError: it is not written so.
        """
        words = text.split()
        while len(words) > 1 and words[0].lower() in {"token", "bearer"}:
            words = words[1:]
        public_id, _, secret_key = words[0].partition("$") if len(words) == 1 else ("", "", "")
        if not (public_id and secret_key) or not text.isascii():
            raise InvalidInputError(
                "That is no API token: write PUBLIC_ID$SECRET_KEY (in a shell within single quotes, because of the $)."
            )
        return cls(public_id, secret_key)

    @property
    def header(self) -> str:
        """The value of the header Authorization."""
        return f"Token {self.public_id}${self.secret_key}"


@dataclass(frozen=True, kw_only=True)
class Access:
    """A server and the token for it, None where none was found; `profile` is the name of the profile it comes from."""

    server: str
    token: Token | None
    profile: str | None


def find_access(server: str | None = None, token: "str | Token | None" = None, profile: str | None = None) -> Access:
    """Find the server and the token.

    The server is the argument, that of the named profile, `PREDICTD_SERVER`, or that of the default profile. The token
    is the argument, that of a profile that was named, `PREDICTD_TOKEN`, that of a profile of this very server, or, for
    Numerai's own hosts alone, `NUMERAI_PUBLIC_ID` with `NUMERAI_SECRET_KEY`. A token of one server is never sent to
    another: where `PREDICTD_SERVER` is set, `PREDICTD_TOKEN` belongs to that server.

    Raises:
        InvalidInputError: no server is named, or something is written wrong.
        NotFoundError: there is no such profile.
        SetupError: the profiles' file can be read by others.
    """
    profiles = Profiles.load()
    named = profile or os.environ.get("PREDICTD_PROFILE") or None
    chosen = _named(profiles, named) if named else None
    wanted = server or (chosen.server if chosen else None) or os.environ.get("PREDICTD_SERVER")
    if not wanted and profiles.default:
        chosen = _named(profiles, profiles.default)
        wanted = chosen.server
    if not wanted:
        raise InvalidInputError(
            "No server is named: give --server URL, set PREDICTD_SERVER, or keep one with: predictd login --server URL"
        )
    address = check_server(wanted)
    if chosen is None or chosen.server != address:
        if named:
            raise InvalidInputError(
                f"The profile {named} is of {chosen and chosen.server}, not of {address}; give one."
            )
        chosen = profiles.of_server(address)
    found = _given(token) or (_kept(chosen) if named else None)
    found = found or _own_variable(address) or _kept(chosen) or _numerai_variables(address)
    return Access(server=address, token=found, profile=chosen.name if chosen else None)


def check_server(text: str) -> str:
    """The address of a server, without a slash at its end.

    Raises:
        InvalidInputError: it is no http or https URL.
    """
    address = text.strip().rstrip("/")
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or not address.isprintable():
        raise InvalidInputError(f"{text[:100]!r} is no server: write its address, such as http://127.0.0.1:8000.")
    return address


def _named(profiles: Profiles, name: str) -> Profile:
    found = profiles.get(name)
    if found is None:
        known = ", ".join(one.name for one in profiles.profiles) or "none"
        raise NotFoundError(f"There is no profile {name!r}; there are: {known}. Make it with: predictd profile add")
    return found


def _given(token: "str | Token | None") -> Token | None:
    return Token.parse(token) if isinstance(token, str) else token


def _own_variable(server: str) -> Token | None:
    """Return the token of `PREDICTD_TOKEN`, unless `PREDICTD_SERVER` says that it is for another server."""
    text, bound = os.environ.get("PREDICTD_TOKEN"), os.environ.get("PREDICTD_SERVER")
    return Token.parse(text) if text and (not bound or check_server(bound) == server) else None


def _numerai_variables(server: str) -> Token | None:
    """Return the token that numerapi reads from the environment, for Numerai's own hosts over https alone."""
    parts = urlsplit(server)
    host = (parts.hostname or "").lower()
    if parts.scheme != "https" or not (host == NUMERAI_DOMAIN or host.endswith(f".{NUMERAI_DOMAIN}")):
        return None
    public_id, secret_key = os.environ.get("NUMERAI_PUBLIC_ID"), os.environ.get("NUMERAI_SECRET_KEY")
    return Token(public_id, secret_key) if public_id and secret_key else None


def _kept(profile: Profile | None) -> Token | None:
    """The token that the profile refers to."""
    if profile is None or not profile.token:
        return None
    if profile.token.startswith(IN_ENVIRONMENT):
        name = profile.token.removeprefix(IN_ENVIRONMENT)
        text = os.environ.get(name)
        if not text:
            raise SetupError(f"The profile {profile.name} takes its token from the variable {name}, which is not set.")
        return Token.parse(text)
    if profile.token != IN_KEYRING:
        return Token.parse(profile.token)
    text = keyring_store.read(profile.name)
    if not text:
        raise SetupError(
            f"The token of the profile {profile.name} is not in the keyring any more, or there is none; "
            f"keep it anew with: predictd login --server {profile.server} --profile {profile.name}"
        )
    return Token.parse(text)
