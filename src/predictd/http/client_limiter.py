"""Limit of concurrent requests, in total and per client, so that one client can't take all of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from anyio import CapacityLimiter

from predictd.domain.ip_addresses import client_key


@dataclass
class _Client:
    limiter: CapacityLimiter
    requests: int = 0


class ClientLimiter:
    """Limits concurrent requests; a request above the limit waits without a thread.

    Attributes:
        total: the limiter of all clients, for `anyio.to_thread.run_sync` or `async with`, within `client`.
    """

    def __init__(self, max_total: int, max_per_client: int) -> None:
        self.total = CapacityLimiter(max_total)
        self._max_per_client = max_per_client
        self._clients: dict[str, _Client] = {}

    @asynccontextmanager
    async def client(self, address: str) -> AsyncIterator[None]:
        """Wait until the client of that address has fewer than its maximum of requests, and count one for it."""
        key = client_key(address)
        client = self._clients.setdefault(key, _Client(CapacityLimiter(self._max_per_client)))
        client.requests += 1
        try:
            async with client.limiter:
                yield
        finally:
            client.requests -= 1
            if not client.requests:
                self._clients.pop(key, None)
