"""Webhook calls to untrusted URLs, protected against server-side request forgery."""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from urllib.parse import urlsplit

import h11

from predictd.domain.errors import InvalidInputError

TIMEOUT_SECONDS = 10
MAX_RESPONSE_BYTES = 64 * 1024
_LOOKUP_SLOTS = threading.BoundedSemaphore(16)
# Global unicast addresses; all other IPv6 addresses are local, embed an IPv4 address, are multicast or unassigned.
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


class WebhookCallError(InvalidInputError):
    """The webhook could not be called; `cause` is the reason without the URL."""

    code = "uncallable"

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(f"The webhook {url[:200]!r} could not be called: {cause}.")
        self.cause = cause


def post(url: str, body: bytes, headers: Mapping[str, str], *, allow_private: bool) -> int:
    """POST the bytes and return the status; redirects are not followed, the response is not stored.

    Takes at most `TIMEOUT_SECONDS` from the DNS lookup to the end of the response, however slow the receiver is.

    Args:
        allow_private: whether addresses that are not on the public internet may be called.

    Raises:
        PrivateAddressError: the host is not on the public internet, and that is not allowed.
        UncallableError: it can't be called, or the head of its response does not arrive whole and in time.
    """
    deadline = time.monotonic() + TIMEOUT_SECONDS
    parts = urlsplit(url)
    host = parts.hostname or ""
    target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = _resolve(host, port, deadline, allow_private=allow_private)
        fixed = {
            "Host": parts.netloc.rpartition("@")[2].encode("idna").decode(),
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        request = h11.Request(method="POST", target=target, headers=[*fixed.items(), *headers.items()])
        return _post(parts.scheme == "https", (address, port), host, request, body, deadline)
    except TimeoutError as error:
        raise WebhookCallError(url, f"it did not respond within {TIMEOUT_SECONDS} seconds") from error
    except (OSError, ValueError, h11.ProtocolError) as error:
        cause = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        raise WebhookCallError(url, cause[:200]) from error


def _resolve(host: str, port: int, deadline: float, *, allow_private: bool) -> str:
    """Return one address of the host. This address is called, so that DNS rebinding has no effect."""
    address = _lookup(host, port, deadline)
    if not allow_private and not _is_public(address):
        raise PrivateAddressError(
            f"The webhook's host {host!r} is not on the public internet; an admin can allow private networks with "
            "PREDICTD_ALLOW_PRIVATE_WEBHOOKS=true."
        )
    return address


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    called = mapped or parsed
    is_unicast = called in _UNICAST if called.version == 6 else not called.is_multicast
    return called.is_global and is_unicast and not any(called in network for network in _NOT_PUBLIC)


def _lookup(host: str, port: int, deadline: float) -> str:
    """Return one address of the host; a name server that does not respond ends with TimeoutError at the deadline."""
    result: Future[str] = Future()

    def look_up() -> None:
        try:
            result.set_result(str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]))
        except (OSError, ValueError) as error:
            result.set_exception(error)
        finally:
            _LOOKUP_SLOTS.release()

    # The system resolver has no timeout, so a lookup that does not finish is left to its thread.
    if not _LOOKUP_SLOTS.acquire(timeout=_seconds_left(deadline)):
        raise TimeoutError("too many names are being looked up")
    threading.Thread(target=look_up, name="look-up", daemon=True).start()
    return result.result(_seconds_left(deadline))


def _seconds_left(deadline: float) -> float:
    """Return the seconds until the deadline; TimeoutError where there are none."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def _post(
    is_https: bool, address: tuple[str, int], host: str, request: h11.Request, body: bytes, deadline: float
) -> int:
    """Send the request and return the status. Every wait for the other side ends at the deadline."""
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_RESPONSE_BYTES)
    content = http.send(request), http.send(h11.Data(data=body)), http.send(h11.EndOfMessage())
    with ExitStack() as opened:
        connection = opened.enter_context(socket.create_connection(address, timeout=_seconds_left(deadline)))
        if is_https:
            connection.settimeout(_seconds_left(deadline))
            context = ssl.create_default_context()
            connection = opened.enter_context(context.wrap_socket(connection, server_hostname=host))
        unsent = memoryview(b"".join(part or b"" for part in content))
        while unsent:
            connection.settimeout(_seconds_left(deadline))
            unsent = unsent[connection.send(unsent) :]
        status = None
        try:
            for event in _events(http, connection, deadline):
                if isinstance(event, h11.Response):
                    status = event.status_code
        except (OSError, h11.RemoteProtocolError):
            # The status is known; the body is only read so that the receiver can send it.
            if status is None:
                raise
    if status is None:
        raise ConnectionError("the response is larger than expected")
    return status


def _events(http: h11.Connection, connection: socket.socket, deadline: float) -> Iterator[h11.Event]:
    """Read the response until its end, its first `MAX_RESPONSE_BYTES` or the deadline.

    Raises:
        TimeoutError: the deadline has passed.
        h11.RemoteProtocolError: it is not HTTP, or it breaks off.
    """
    received = 0
    while received <= MAX_RESPONSE_BYTES:
        event = http.next_event()
        if event is h11.NEED_DATA:
            connection.settimeout(_seconds_left(deadline))
            content = connection.recv(16 * 1024)
            received += len(content)
            http.receive_data(content)
            continue
        if not isinstance(event, h11.Event) or isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            return
        yield event
