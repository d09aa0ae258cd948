"""Calling a model's submission webhook."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from predictd.domain.errors import BusyError, InvalidInputError, LimitReachedError
from predictd.notifications.http_post import post

MOST_AT_ONCE = 16
_lock = threading.Lock()
_calling: set[str] = set()


def deliver(account_id: str, url: str, body: dict[str, Any], *, allow_private: bool) -> None:
    """POST the body as JSON; redirects are not followed.

    Args:
        account_id: whose webhook it is. Of each account one webhook is called at a time.
        url: what is called.
        body: what is sent.
        allow_private: whether addresses that are not on the public internet may be called.

    Raises:
        InvalidInputError: the address can't be reached, is private, or does not answer with success.
        LimitReachedError: another call for the account is in progress.
        BusyError: `MOST_AT_ONCE` calls of all accounts are in progress.
    """
    content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    with _turn_of(account_id):
        status = post(url, content, headers, allow_private=allow_private)
    if not 200 <= status < 300:
        raise InvalidInputError(
            f"The webhook {url[:200]!r} responded with {status}. Check that it returns a 2xx status."
        )


@contextmanager
def _turn_of(account_id: str) -> Iterator[None]:
    with _lock:
        if account_id in _calling:
            raise LimitReachedError(
                "Another webhook of this account is being called. Wait until it responds, then try again."
            )
        if len(_calling) >= MOST_AT_ONCE:
            raise BusyError(
                f"The server is calling {MOST_AT_ONCE} webhooks, which is the limit. Try again in a few seconds."
            )
        _calling.add(account_id)
    try:
        yield
    finally:
        with _lock:
            _calling.discard(account_id)
