"""Security headers of every page, and responses that are files."""

from starlette.responses import Response

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def secured(response: Response, *, is_private: bool = True) -> Response:
    """Return the response with the security headers; private responses are not cached."""
    response.headers.update(HEADERS)
    if is_private:
        response.headers["Cache-Control"] = "no-store"
    return response


def attachment(response: Response, filename: str) -> Response:
    """Return the response as a file of that name; other characters than letters, digits, `.`, `_`, `-` become `_`."""
    plain = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "_" for char in filename)
    response.headers["Content-Disposition"] = f'attachment; filename="{plain}"'
    return secured(response)
