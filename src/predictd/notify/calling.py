"""Calling an address that a user has set, without lending the server's place in its network to them."""

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from predictd.domain.errors import InvalidInputError

SECONDS = 10
MOST_ANSWER_BYTES = 64 * 1024
# The unicast addresses of the internet: all others of IPv6 are of a site, stand for one of IPv4 that a gateway would
# call, are of groups, or of nobody.
_UNICAST = ipaddress.ip_network("2000::/3")
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # the platform of Azure, from inside of its machines
        "192.88.99.0/24",  # relays of 6to4
        "2001::/32",  # Teredo: an address of IPv4 within
        "2002::/16",  # 6to4: an address of IPv4 within
        "3fff::/20",  # documentation
    )
)


class PrivateAddressError(InvalidInputError):
    """The address is not on the public internet."""

    code = "private_address"


class UncallableError(InvalidInputError):
    """The address can't be called, or it answers nothing; `why` says it without the address."""

    code = "uncallable"

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"The webhook {url[:200]!r} could not be called: {why}.")
        self.why = why


def post(url: str, body: bytes, headers: Mapping[str, str], *, allow_private: bool) -> int:
    """POST the bytes and answer the status; redirects are not followed, the answer is not kept.

    It takes at most `SECONDS` from the connection on, however slowly the other side answers.

    Args:
        allow_private: whether addresses that are not on the public internet may be called.

    Raises:
        PrivateAddressError: the host is not on the public internet, and that is not allowed.
        UncallableError: it can't be called, or it answers nothing.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = _resolve(host, port, allow_private=allow_private)
        return _post(parts.scheme == "https", address, host, port, target, body, headers)
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        raise UncallableError(url, why[:200]) from error


def _resolve(host: str, port: int, *, allow_private: bool) -> str:
    """One address of the host. It is the address that is called, so that a second look-up can't answer another."""
    address = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    if not allow_private and not _is_public(address):
        raise PrivateAddressError(
            f"The webhook's host {host!r} is not on the public internet; the organiser can allow that with "
            "PREDICTD_WEBHOOKS_TO_PRIVATE=true."
        )
    return address


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    called = mapped or parsed
    is_unicast = called in _UNICAST if called.version == 6 else not called.is_multicast
    return called.is_global and is_unicast and not any(called in network for network in _NOT_PUBLIC)


def _post(
    is_https: bool, address: str, host: str, port: int, target: str, body: bytes, headers: Mapping[str, str]
) -> int:
    connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    opened = connection.sock = socket.create_connection((address, port), timeout=SECONDS)
    # The timeout of a socket is one of each read: an answer in single bytes would last for ever.
    deadline = threading.Timer(SECONDS, _end, (opened,))
    deadline.daemon = True
    deadline.start()
    try:
        if is_https:
            connection.sock = ssl.create_default_context().wrap_socket(opened, server_hostname=host)
        connection.request("POST", target, body, dict(headers))
        response = connection.getresponse()
        response.read(MOST_ANSWER_BYTES)
        return response.status
    finally:
        deadline.cancel()
        connection.close()


def _end(opened: socket.socket) -> None:
    with suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)
