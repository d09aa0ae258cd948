"""Validation of keys."""

import re

from predictd.domain.errors import InvalidInputError

# Names below a folder may be hidden; at the root hidden names are reserved for the storage. A part is at most as long
# as the name of a file.
_FIRST = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")
_PART = re.compile(r"\.?[A-Za-z0-9_-][A-Za-z0-9._-]{0,253}")
MAX_KEY_LENGTH = 500


def check_key(key: str) -> str:
    """Return the key; raise InvalidInputError unless all parts are plain names, so that it can't leave the storage."""
    first, *parts = key.split("/")
    if len(key) > MAX_KEY_LENGTH or not _FIRST.fullmatch(first) or not all(_PART.fullmatch(part) for part in parts):
        raise InvalidInputError(f"{key[:80]!r} is not a valid object key.")
    return key
