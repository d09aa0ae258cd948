"""The errors of GraphQL responses as exceptions with remedies."""

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
    """The server rejected the request."""

    code = "refused"


_CLASSES: tuple[type[PredictdError], ...] = (
    NotAuthenticatedError,
    MissingScopeError,
    NotFoundError,
    ConflictError,
    InvalidInputError,
    TooLargeError,
    PlatformError,
)
_BY_CODE = {error_class.code: error_class for error_class in _CLASSES}
# For servers that send no code: the first pattern that matches the message decides.
_BY_PATTERN: tuple[tuple[str, type[PredictdError]], ...] = (
    (r"session is invalid|has expired|not authenticated|unauthori[sz]ed|not logged in", NotAuthenticatedError),
    (r"\bscopes?\b|permission|not allowed", MissingScopeError),
    (r"internal server error", PlatformError),
    (r"not found|unknown|does not exist|no such", NotFoundError),
    (r"\balready\b|taken|in use", ConflictError),
)
_REMEDIES: dict[type[PredictdError], str] = {
    NotAuthenticatedError: (
        "Check that the token belongs to this server and is not revoked. Set it with `predictd login` or "
        "PREDICTD_TOKEN=PUBLIC_ID$SECRET_KEY."
    ),
    MissingScopeError: "Use a token with this scope; save it with: predictd login",
    PlatformError: "The server failed. Try again, and contact its admin if the error persists.",
}


def error_of(errors: list[dict[str, Any]]) -> PredictdError:
    """Return the exception for the errors of a GraphQL response, with a remedy; the first error decides its class."""
    error_class, message = read_errors(errors)
    remedy = _REMEDIES.get(error_class)
    return error_class(f"{message} {remedy}" if remedy else message)


def read_errors(errors: list[dict[str, Any]]) -> tuple[type[PredictdError], str]:
    """Return the class of the first error of a GraphQL response, and the messages of all errors."""
    messages = [" ".join(str(error.get("message") or "").split())[:1000] for error in errors]
    text = " ".join(dict.fromkeys(message for message in messages if message)) or "The server gave no reason."
    return _class_of(errors[0], text), text


def _class_of(error: dict[str, Any], text: str) -> type[PredictdError]:
    extensions = error.get("extensions")
    code = extensions.get("code") if isinstance(extensions, dict) else None
    if isinstance(code, str) and code.lower() in _BY_CODE:
        return _BY_CODE[code.lower()]
    matches = (error_class for pattern, error_class in _BY_PATTERN if re.search(pattern, text, re.IGNORECASE))
    return next(matches, RefusedError)
