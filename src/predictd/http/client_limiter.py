"""How many requests are served at once, in all and of one client, so that no client holds all places."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from anyio import CapacityLimiter

from predictd.domain.addresses import client_key


@dataclass
class _Client:
    limiter: CapacityLimiter
    requests: int = 0


class ClientLimiter:
    """Places of which one client's address holds `of_client` at most; whoever finds none free waits without a thread.

    Attributes:
        places: all places, for `anyio.to_thread.run_sync` or `async with`, to be taken within `client`.
    """

    def __init__(self, at_once: int, of_client: int) -> None:
        self.places = CapacityLimiter(at_once)
        self._of_client = of_client
        self._clients: dict[str, _Client] = {}

    @asynccontextmanager
    async def client(self, address: str) -> AsyncIterator[None]:
        """Wait until the client of that address holds fewer than `of_client` places, and count one for it."""
        key = client_key(address)
        client = self._clients.setdefault(key, _Client(CapacityLimiter(self._of_client)))
        client.requests += 1
        try:
            async with client.limiter:
                yield
        finally:
            client.requests -= 1
            if not client.requests:
                self._clients.pop(key, None)
