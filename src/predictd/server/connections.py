"""The connections that clients hold: how many there may be, and how long one may stay open without progress.

An idle connection costs the server a file descriptor, so it is closed soon: the head of a request has to arrive
within `HEAD_SECONDS`, and a body or a response has to make progress. There is no limit on the total time of a transfer.

When all connections are in use, the one that has waited longest for a request is closed in favor of the new one, so a
new client is always accepted unless every connection has a request in progress. Even then the last `SPARE` connections
respond to the probes (`/healthz`, `/readyz`, `/metrics`) and refuse everything else with 503.
"""

import asyncio
import fcntl
import resource
import sys
import termios
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from predictd import prometheus
from predictd.domain.ip_addresses import client_key

log = structlog.get_logger()

# Descriptors that this process may open if its hard limit allows, and how many of them are not for connections: the
# database, workers, uploads, and connections that were accepted but are not counted yet.
MAX_DESCRIPTORS = 8192
RESERVED_DESCRIPTORS = 448
MAX_PER_ADDRESS = 256
SPARE = 32
# Connections that are accepted in one step of the event loop. It is far below the reserve.
ACCEPT_BATCH = 64
PROBES = (b"/healthz", b"/readyz", b"/metrics")

HEAD_SECONDS = 20.0
HEAD_BYTES = 64 * 1024
STALL_SECONDS = 60.0
# Less than this in `STALL_SECONDS` is no progress: 68 bytes a second, far below the slowest link.
PROGRESS_BYTES = 4096
MAX_PIPELINED = 8
SWEEP_SECONDS = 2.0


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files as far as the hard limit allows; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reachable = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < reachable:
        resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
        return reachable
    return MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


class Connections:
    """All open connections of this server.

    Args:
        descriptors: how many files this process may have open.
        is_proxy: whether an address is that of a trusted proxy, whose connections carry the requests of many clients
            and are not limited by address.
    """

    def __init__(self, descriptors: int, is_proxy: Callable[[str], bool]) -> None:
        self._most = max(2 * SPARE, descriptors - RESERVED_DESCRIPTORS)
        self._is_proxy = is_proxy
        self._open: set[BoundedProtocol] = set()
        # Those without a request in progress and the time since when, longest first.
        self._waiting: dict[BoundedProtocol, float] = {}
        self._by_address: Counter[str] = Counter()

    @property
    def is_full(self) -> bool:
        """Whether no more requests are accepted, other than those of probes."""
        return len(self._open) - len(self._waiting) > self._most - SPARE

    def admit(self, connection: "BoundedProtocol") -> None:
        """Count a new connection; close another one or this one if there are too many."""
        if not self._is_proxy(connection.host) and self._by_address[connection.client_key] >= MAX_PER_ADDRESS:
            # Where all of them have requests in progress, this one's request is refused by `Turns`.
            idle_of_client = (waiting for waiting in self._waiting if waiting.client_key == connection.client_key)
            if (rival := next(idle_of_client, None)) is not None:
                self._close("address_limit", rival)
        elif len(self._open) >= self._most:
            idle = (waiting for waiting in self._waiting if not waiting.unsent)
            self._close("connection_limit", next(idle, connection))
        if not connection.is_closing:
            self._open.add(connection)
            self._by_address[connection.client_key] += 1
            self.wait_for_request(connection)

    def wait_for_request(self, connection: "BoundedProtocol") -> None:
        """Note that the connection has no request in progress."""
        self._waiting.pop(connection, None)
        self._waiting[connection] = time.monotonic()

    def begin_request(self, connection: "BoundedProtocol") -> None:
        """Note that the head of a request has arrived."""
        self._waiting.pop(connection, None)

    def forget(self, connection: "BoundedProtocol") -> None:
        """Stop counting a connection that is closed."""
        self._waiting.pop(connection, None)
        if connection in self._open:
            self._open.remove(connection)
            self._by_address[connection.client_key] -= 1
            if not self._by_address[connection.client_key]:
                del self._by_address[connection.client_key]

    async def sweep(self) -> None:
        """Close connections without progress, for as long as the server runs."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = time.monotonic()
            waiting = [connection for connection, since in self._waiting.items() if now - since > HEAD_SECONDS]
            for connection in waiting:
                # A response may be complete and still be on its way to a slow client.
                if not connection.unsent:
                    self._close("head_timeout", connection)
            for connection in [connection for connection in self._open if connection.is_stalled(now)]:
                self._close("stalled", connection)

    def _close(self, reason: str, connection: "BoundedProtocol") -> None:
        prometheus.CONNECTIONS_CLOSED.labels(reason).inc()
        log.debug("connection_closed", reason=reason, address=connection.host)
        self.forget(connection)
        connection.abort()


class BoundedProtocol(HttpToolsProtocol):
    """One connection, as uvicorn serves it, within the bounds of `Connections`."""

    def __init__(self, connections: Connections, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._all = connections
        self.host = ""
        self.client_key = ""
        self._received = 0
        # Bytes since the last part of a body: a head, trailers, or the framing of chunks.
        self._framing = 0
        # Where a stretch without progress began: its time, and the bytes received and buffered then.
        self._stretch = (0.0, 0, 0)

    @property
    def is_closing(self) -> bool:
        """Whether nothing more is read from it."""
        return self.transport.is_closing()

    @property
    def unsent(self) -> int:
        """How many bytes the client's machine has not acknowledged yet, in our buffer and in the kernel's.

        The kernel's buffer alone holds minutes of a slow download, so its size is part of what makes progress.
        """
        descriptor = self.transport.get_extra_info("socket").fileno()
        queued = b"" if descriptor < 0 else fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0" * 4)
        return self.transport.get_write_buffer_size() + int.from_bytes(queued, sys.byteorder)

    def abort(self) -> None:
        """Close it at once, with what is not sent yet."""
        self.transport.abort()

    def is_stalled(self, now: float) -> bool:
        """Whether the client has sent nothing that it should have sent, or has read nothing, for `STALL_SECONDS`."""
        since, received, buffered = self._stretch
        unsent = self.unsent
        is_sending = self._is_sending() and self._received - received < PROGRESS_BYTES
        is_reading = unsent > 0 and buffered > 0 and unsent > buffered - PROGRESS_BYTES
        if is_sending or is_reading:
            return now - since > STALL_SECONDS
        self._stretch = (now, self._received, unsent)
        return False

    def _is_sending(self) -> bool:
        """Whether it is the client's turn to send a part of a body."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or cycle.waiting_for_100_continue:
            return False
        return cycle.more_body and not self.flow.read_paused

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection."""
        super().connection_made(transport)
        self.host = self.client[0] if self.client else ""
        self.client_key = client_key(self.host)
        self._stretch = (time.monotonic(), 0, 0)
        self._all.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting the connection."""
        self._all.forget(self)
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """Note that the client has read most of what was buffered."""
        self._stretch = (time.monotonic(), self._received, 0)
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, unless it is a head that does not end."""
        if self.is_closing:
            return
        self._received += len(data)
        self._framing += len(data)
        super().data_received(data)
        if self._framing > HEAD_BYTES and not self.is_closing:
            if self.cycle is None or self.cycle.response_complete:
                self.send_400_response(
                    f"The head of the request is longer than {HEAD_BYTES} bytes. Send fewer or shorter headers.\n"
                )
            else:
                self.abort()

    def on_headers_complete(self) -> None:
        """Begin the request, or refuse it if the server is full or too many are pipelined."""
        self._framing = 0
        self._all.begin_request(self)
        is_refused = self._all.is_full and self.url.partition(b"?")[0] not in PROBES
        self.app = _refuse if is_refused else self.config.loaded_app
        super().on_headers_complete()
        if len(self.pipeline) > MAX_PIPELINED:
            self.abort()
            raise ValueError(f"more than {MAX_PIPELINED} requests are pipelined")

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._framing = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of the request's body."""
        self._framing = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, if none is pipelined."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.is_closing:
            self._all.wait_for_request(self)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    response = PlainTextResponse(
        "The server has as many requests in progress as it can take. Try again in some seconds.\n",
        503,
        headers={"Connection": "close", "Retry-After": "5"},
    )
    await response(scope, receive, send)
