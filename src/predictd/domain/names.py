"""Rules for names that users choose."""

import re
import secrets
import string
from pathlib import PurePath
from urllib.parse import urlsplit

from predictd.domain.errors import InvalidInputError

CLASSIC = 8
MODEL_NAME_LENGTH = 20
USERNAME_LENGTH = 40
FILENAME_LENGTH = 200
URL_LENGTH = 5000
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_ALPHABET = string.ascii_letters + string.digits


def check_tournament(tournament: int) -> None:
    """Raise InvalidInputError unless it is the one tournament of this server."""
    if tournament != CLASSIC:
        raise InvalidInputError(f"Tournament {tournament} does not exist here; the only one is {CLASSIC} (classic).")


def check_model_name(name: str) -> None:
    """Raise InvalidInputError unless it is 1 to 20 letters, digits, _ or -."""
    _check(name, "Model name", MODEL_NAME_LENGTH)


def check_username(name: str) -> None:
    """Raise InvalidInputError unless it is 1 to 40 letters, digits, _ or -."""
    _check(name, "Account name", USERNAME_LENGTH)


def check_version_name(name: str) -> None:
    """Raise InvalidInputError unless it is a data version's name such as v5.3."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", name):
        raise InvalidInputError(f"Data version {name[:60]!r} is invalid: use a name such as v5.3.")


def check_url(what: str, value: str) -> None:
    """Raise InvalidInputError unless it is a whole http or https URL; `what` describes its purpose."""
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or len(value) > URL_LENGTH:
        raise InvalidInputError(f"The {what} {value[:80]!r} is invalid: enter an absolute http or https URL.")


def _check(name: str, what: str, max_length: int) -> None:
    if not _NAME.fullmatch(name) or len(name) > max_length:
        raise InvalidInputError(f"{what} {name[:60]!r} is invalid: use 1 to {max_length} letters, digits, _ and -.")


def unique_filename(filename: str, endings: tuple[str, ...], default: str) -> str:
    """The given name, a dash and 12 random letters and digits: `model.pkl` becomes `model-Kc5pT9r85SRD.pkl`.

    A folder in front is dropped and what a URL can't carry plainly becomes `_`.

    Raises:
        InvalidInputError: the name has none of the endings or is too long.
    """
    name = PurePath((filename or default).replace("\\", "/")).name
    stem, dot, ending = name.rpartition(".")
    if not dot or not stem or f".{ending.lower()}" not in endings:
        raise InvalidInputError(f"Filename {name[:60]!r} is invalid: it must end in {' or '.join(endings)}.")
    if len(name) > FILENAME_LENGTH:
        raise InvalidInputError(f"The filename has {len(name)} characters; the limit is {FILENAME_LENGTH}.")
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", stem).lstrip(".") or "file"
    return f"{plain}-{''.join(secrets.choice(_ALPHABET) for _ in range(12))}.{ending}"
