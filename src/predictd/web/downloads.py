"""Files that a page hands out."""

from datetime import timedelta

from starlette.responses import RedirectResponse, Response

from predictd.web.headers import secured
from predictd.web.visits import Visit


def download(visit: Visit, key: str, filename: str) -> Response:
    """Send the browser to a presigned address of the object."""
    expires_at = visit.now + timedelta(seconds=visit.services.settings.url_seconds)
    return secured(RedirectResponse(visit.storage.presign("GET", key, expires_at=expires_at, filename=filename), 303))


def attachment(response: Response, filename: str) -> Response:
    """The response as a file of that name, which may hold letters, digits, `.`, `_` and `-`."""
    plain = "".join(one if one.isascii() and (one.isalnum() or one in "._-") else "_" for one in filename)
    response.headers["Content-Disposition"] = f'attachment; filename="{plain}"'
    return secured(response)
