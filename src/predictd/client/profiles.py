"""The file of profiles: servers by name, each with where its token is. It is its owner's alone to read."""

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
    """A server by name.

    Attributes:
        token: the token itself, 'keyring' or 'env:VARIABLE' for where it is; None for none.
    """

    name: str
    server: str
    token: str | None = None


@dataclass(frozen=True, kw_only=True)
class Profiles:
    """All profiles, and which of them is meant where none is named."""

    path: Path
    profiles: tuple[Profile, ...] = ()
    default: str | None = None

    @classmethod
    def load(cls) -> "Profiles":
        """Read `predictd/config.toml` in the user's configuration folder (XDG_CONFIG_HOME); empty without one.

        Raises:
            SetupError: others can read a token in it, or it is no such file.
        """
        path = _path()
        try:
            content = path.read_text()
        except FileNotFoundError:
            return cls(path=path)
        except (OSError, UnicodeDecodeError) as error:
            raise SetupError(f"The profiles in {path} can't be read: {error}.") from error
        try:
            document = tomllib.loads(content)
            found = tuple(_read(name, table) for name, table in document.get("profiles", {}).items())
        except (tomllib.TOMLDecodeError, KeyError, AttributeError, TypeError) as error:
            raise SetupError(f"{path} is not a file of profiles ({error!r}); mend or remove it.") from error
        if any(_is_secret(one) for one in found) and path.stat().st_mode & 0o077:
            raise SetupError(f"{path} holds a token and others can read it. Close it with: chmod 600 {path}")
        return cls(path=path, profiles=found, default=document.get("default"))

    def __iter__(self) -> Iterator[Profile]:
        return iter(self.profiles)

    def get(self, name: str) -> Profile | None:
        """The profile of that name."""
        return next((one for one in self.profiles if one.name == name), None)

    def of_server(self, server: str) -> Profile | None:
        """A profile of that server, the default one before others."""
        found = [one for one in self.profiles if one.server == server]
        return next((one for one in found if one.name == self.default), found[0] if found else None)

    def added(self, profile: Profile, *, default: bool = False) -> "Profiles":
        """These with one more, in place of one of the same name; the first is the default.

        Raises:
            InvalidInputError: the name is none.
        """
        if not _NAME.fullmatch(profile.name):
            raise InvalidInputError(f"{profile.name[:60]!r} is no profile's name: use letters, digits, _ and -.")
        others = tuple(one for one in self.profiles if one.name != profile.name)
        chosen = profile.name if default or not self.default else self.default
        return replace(self, profiles=(*others, profile), default=chosen)

    def removed(self, name: str) -> "Profiles":
        """These without one."""
        rest = tuple(one for one in self.profiles if one.name != name)
        return replace(self, profiles=rest, default=None if self.default == name else self.default)

    def save(self) -> None:
        """Write the file, whole or not at all, for its owner alone."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(self._text())
        draft.replace(self.path)

    def _text(self) -> str:
        lines = ["# Servers that predictd knows by name; written by `predictd login` and `predictd profile`."]
        if self.default:
            lines.append(f"default = {json.dumps(self.default)}")
        for one in self.profiles:
            # JSON's strings are TOML's too.
            lines += ["", f"[profiles.{one.name}]", f"server = {json.dumps(one.server)}"]
            if one.token:
                lines.append(f"token = {json.dumps(one.token)}")
        return "\n".join(lines) + "\n"


def _path() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser().absolute() / "predictd" / "config.toml"


def _read(name: str, table: dict[str, str]) -> Profile:
    token = table.get("token")
    if not _NAME.fullmatch(name) or not isinstance(token, str | None):
        raise TypeError(name)
    return Profile(name=name, server=str(table["server"]).rstrip("/"), token=token)


def _is_secret(profile: Profile) -> bool:
    return profile.token is not None and "$" in profile.token
