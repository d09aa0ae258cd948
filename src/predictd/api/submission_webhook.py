"""Calls of submission webhooks."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from predictd.domain.errors import BusyError, InvalidInputError, LimitReachedError
from predictd.notifications.http_post import post

MAX_CONCURRENT = 16
_lock = threading.Lock()
_active_accounts: set[str] = set()


def call_webhook(account_id: str, url: str, body: dict[str, Any], *, allow_private: bool) -> None:
    """POST the body as JSON; redirects are not followed.

    Args:
        account_id: the account of the webhook, which can call one at a time.
        url: the URL of the webhook.
        body: the content of the request.
        allow_private: whether private addresses are allowed.

    Raises:
        InvalidInputError: the webhook is unreachable, private, or responds with an error.
        LimitReachedError: another call for the account is in progress.
        BusyError: `MAX_CONCURRENT` calls of all accounts are in progress.
    """
    content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    with _reserved_call(account_id):
        status = post(url, content, headers, allow_private=allow_private)
    if not 200 <= status < 300:
        raise InvalidInputError(
            f"The webhook {url[:200]!r} responded with {status}. Check that it returns a 2xx status."
        )


@contextmanager
def _reserved_call(account_id: str) -> Iterator[None]:
    with _lock:
        if account_id in _active_accounts:
            raise LimitReachedError(
                "Another webhook of this account is being called. Wait until it responds, then try again."
            )
        if len(_active_accounts) >= MAX_CONCURRENT:
            raise BusyError(
                f"The server is calling {MAX_CONCURRENT} webhooks, which is the limit. Try again in a few seconds."
            )
        _active_accounts.add(account_id)
    try:
        yield
    finally:
        with _lock:
            _active_accounts.discard(account_id)
