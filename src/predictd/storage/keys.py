"""The rules for keys."""

import re

from predictd.domain.errors import InvalidInputError

# What lies in a folder may be hidden from those who list it; at the root, hidden names are the storage's own. A part is
# as long as the name of a file may be.
_FIRST = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")
_PART = re.compile(r"\.?[A-Za-z0-9_-][A-Za-z0-9._-]{0,253}")
MOST = 500


def check_key(key: str) -> str:
    """Answer the key; InvalidInputError unless every part is plain, so that it can't leave the storage."""
    first, *parts = key.split("/")
    if len(key) > MOST or not _FIRST.fullmatch(first) or not all(_PART.fullmatch(part) for part in parts):
        raise InvalidInputError(f"{key[:80]!r} is no key of an object.")
    return key
