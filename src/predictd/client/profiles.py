"""The file of profiles: named servers and where their tokens are. Only its owner can read it."""

import json
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from predictd.domain.errors import InvalidInputError, SetupError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A named server.

    Attributes:
        name: Name of the profile.
        server: Address of the server.
        token: The token itself, 'keyring', 'env:VARIABLE', or None.
    """

    name: str
    server: str
    token: str | None = None


@dataclass(frozen=True, kw_only=True)
class Profiles:
    """All profiles, and the name of the default."""

    path: Path
    profiles: tuple[Profile, ...] = ()
    default: str | None = None

    @classmethod
    def load(cls) -> "Profiles":
        """Read `predictd/config.toml` in the user's configuration folder (XDG_CONFIG_HOME), if it exists.

        Raises:
            SetupError: The file is invalid, or other users can read a token in it.
        """
        path = _path()
        try:
            content = path.read_text()
        except FileNotFoundError:
            return cls(path=path)
        except (OSError, UnicodeDecodeError) as error:
            raise SetupError(f"The profiles in {path} can't be read: {error}. Check the file.") from error
        try:
            document = tomllib.loads(content)
            profiles = tuple(_parse(name, table) for name, table in document.get("profiles", {}).items())
        except (tomllib.TOMLDecodeError, KeyError, AttributeError, TypeError) as error:
            raise SetupError(f"{path} is not a valid file of profiles ({error!r}). Fix or remove it.") from error
        if any(_has_secret(profile) for profile in profiles) and path.stat().st_mode & 0o077:
            raise SetupError(f"Other users can read {path}, which contains a token. Run: chmod 600 {path}")
        return cls(path=path, profiles=profiles, default=document.get("default"))

    def __iter__(self) -> Iterator[Profile]:
        return iter(self.profiles)

    def get(self, name: str) -> Profile | None:
        """Return the profile with this name."""
        return next((profile for profile in self.profiles if profile.name == name), None)

    def of_server(self, server: str) -> Profile | None:
        """Return a profile of the server, preferably the default."""
        matches = [profile for profile in self.profiles if profile.server == server]
        return next((profile for profile in matches if profile.name == self.default), matches[0] if matches else None)

    def with_profile(self, profile: Profile, *, default: bool = False) -> "Profiles":
        """Add a profile, or replace the one with the same name. The first profile becomes the default.

        Raises:
            InvalidInputError: The name is invalid.
        """
        if not _NAME.fullmatch(profile.name):
            raise InvalidInputError(
                f"The profile name {profile.name[:60]!r} is invalid. Use up to 40 letters, digits, _ and -."
            )
        remaining = self.without_profile(profile.name).profiles
        new_default = profile.name if default or not self.default else self.default
        return replace(self, profiles=(*remaining, profile), default=new_default)

    def without_profile(self, name: str) -> "Profiles":
        """Remove a profile."""
        remaining = tuple(profile for profile in self.profiles if profile.name != name)
        return replace(self, profiles=remaining, default=None if self.default == name else self.default)

    def save(self) -> None:
        """Write the file atomically, readable only by its owner."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(self._text())
        draft.replace(self.path)

    def _text(self) -> str:
        lines = ["# Profiles of predictd; written by `predictd login` and `predictd profile`."]
        if self.default:
            lines.append(f"default = {json.dumps(self.default)}")
        for profile in self.profiles:
            # A JSON string is also a TOML string.
            lines += ["", f"[profiles.{profile.name}]", f"server = {json.dumps(profile.server)}"]
            if profile.token:
                lines.append(f"token = {json.dumps(profile.token)}")
        return "\n".join(lines) + "\n"


def _path() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser().absolute() / "predictd" / "config.toml"


def _parse(name: str, table: dict[str, str]) -> Profile:
    token = table.get("token")
    if not _NAME.fullmatch(name) or not isinstance(token, str | None):
        raise TypeError(name)
    return Profile(name=name, server=str(table["server"]).rstrip("/"), token=token)


def _has_secret(profile: Profile) -> bool:
    return profile.token is not None and "$" in profile.token
