"""Calling a model's submission webhook."""

import json
from typing import Any

from predictd.domain.errors import InvalidInputError
from predictd.notify.calling import post


def deliver(url: str, body: dict[str, Any], *, allow_private: bool) -> None:
    """POST the body as JSON; redirects are not followed.

    Args:
        allow_private: whether addresses that are not on the public internet may be called.

    Raises:
        InvalidInputError: the address can't be reached, is private, or does not answer with success.
    """
    content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    status = post(url, content, headers, allow_private=allow_private)
    if not 200 <= status < 300:
        raise InvalidInputError(f"The webhook {url[:200]!r} answered {status}, not success.")
