"""What a server's refusal means, and what to do about it."""

import re
from typing import Any

from predictd.domain.errors import (
    ConflictError,
    InvalidInputError,
    MissingScopeError,
    NotAuthenticatedError,
    NotFoundError,
    PlatformError,
    PredictdError,
    TooLargeError,
)


class RefusedError(PredictdError):
    """The server refuses the request."""

    code = "refused"


_KINDS: tuple[type[PredictdError], ...] = (
    NotAuthenticatedError,
    MissingScopeError,
    NotFoundError,
    ConflictError,
    InvalidInputError,
    TooLargeError,
    PlatformError,
)
_BY_CODE = {kind.code: kind for kind in _KINDS}
# Servers that send no code are understood by their words; the first that fits counts.
_BY_WORDS: tuple[tuple[str, type[PredictdError]], ...] = (
    (r"session is invalid|has expired|not authenticated|unauthori[sz]ed|not logged in", NotAuthenticatedError),
    (r"\bscopes?\b|permission|not allowed", MissingScopeError),
    (r"internal server error", PlatformError),
    (r"not found|unknown|does not exist|no such", NotFoundError),
    (r"\balready\b|taken|in use", ConflictError),
)
_REMEDIES: dict[type[PredictdError], str] = {
    NotAuthenticatedError: (
        "Check the token: `predictd login` keeps one, PREDICTD_TOKEN=PUBLIC_ID$SECRET_KEY names one, and it must be of "
        "this server and not revoked."
    ),
    MissingScopeError: "Use a token that has the scope: `predictd login` keeps it.",
    PlatformError: "That is the server's own fault; try again, and tell its organiser if it stays.",
}


def error_of(errors: list[dict[str, Any]]) -> PredictdError:
    """The errors of a GraphQL answer as one of ours, of the kind of the first; a remedy is added where it needs one."""
    kind, told = read_errors(errors)
    remedy = _REMEDIES.get(kind)
    return kind(f"{told} {remedy}" if remedy else told)


def read_errors(errors: list[dict[str, Any]]) -> tuple[type[PredictdError], str]:
    """The kind of the first of the errors of a GraphQL answer, and what all of them say."""
    messages = [" ".join(str(error.get("message") or "").split())[:1000] for error in errors]
    told = " ".join(dict.fromkeys(message for message in messages if message)) or "The server gives no reason."
    return _kind(errors[0], told), told


def _kind(error: dict[str, Any], told: str) -> type[PredictdError]:
    extensions = error.get("extensions")
    code = extensions.get("code") if isinstance(extensions, dict) else None
    if isinstance(code, str) and code.lower() in _BY_CODE:
        return _BY_CODE[code.lower()]
    return next((kind for words, kind in _BY_WORDS if re.search(words, told, re.IGNORECASE)), RefusedError)
