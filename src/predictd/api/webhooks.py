"""Calling a webhook that a user has set, without lending the server's place in its network to them."""

import http.client
import ipaddress
import json
import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

from predictd.domain.errors import InvalidInputError

SECONDS = 10


def deliver(url: str, body: dict[str, Any], *, allow_private: bool) -> None:
    """POST the body as JSON; redirects are not followed.

    Args:
        allow_private: whether addresses that are not on the public internet may be called.

    Raises:
        InvalidInputError: the address can't be reached, is private, or does not answer with success.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = _resolve(host, port, allow_private=allow_private)
        status = _post(parts.scheme == "https", address, host, port, f"{parts.path or '/'}?{parts.query}", body)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InvalidInputError(f"The webhook {url[:200]!r} could not be called: {error}.") from error
    if not 200 <= status < 300:
        raise InvalidInputError(f"The webhook {url[:200]!r} answered {status}, not success.")


def _resolve(host: str, port: int, *, allow_private: bool) -> str:
    """One address of the host. It is the address that is called, so that a second look-up can't answer another."""
    address = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    if not allow_private and not ipaddress.ip_address(address.partition("%")[0]).is_global:
        raise InvalidInputError(
            f"The webhook's host {host!r} is not on the public internet; the organiser can allow that with "
            "PREDICTD_WEBHOOKS_TO_PRIVATE=true."
        )
    return address


def _post(is_https: bool, address: str, host: str, port: int, target: str, body: dict[str, Any]) -> int:
    connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    connection.sock = socket.create_connection((address, port), timeout=SECONDS)
    if is_https:
        connection.sock = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=host)
    try:
        connection.request("POST", target, json.dumps(body), {"Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()
