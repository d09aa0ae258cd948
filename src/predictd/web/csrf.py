"""Tokens that prove that a form was rendered for the browser that submits it."""

import hashlib
import hmac

from predictd.domain.errors import PredictdError


class InvalidCsrfTokenError(PredictdError):
    """The form is invalid or has expired. Go back, reload the page, and submit the form again."""

    code = "invalid_csrf_token"


def csrf_token(secret: str) -> str:
    """Return the token of the forms of the browser whose cookie is `secret`."""
    return hashlib.sha256(f"form:{secret}".encode()).hexdigest()


def check_csrf_token(token: str, secret: str) -> None:
    """Raise InvalidCsrfTokenError unless the token is the one of that secret; an empty secret has no token."""
    if not secret or not hmac.compare_digest(token.encode(), csrf_token(secret).encode()):
        raise InvalidCsrfTokenError
