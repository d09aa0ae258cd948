"""Stopping without cutting anything off: not ready first, then no new runs, then the end of what is under way.

A first SIGTERM or SIGINT begins it, a second one ends the server at once.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from types import FrameType

import anyio.to_thread
import structlog
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

log = structlog.get_logger()

_LOOK_SECONDS = 0.05
_TRANSFERS = "/files"
# Connections that the kernel holds until the server accepts them.
LISTEN_BACKLOG = 1024


class Draining:
    """How far the stopping of a server is.

    Args:
        stop_runs: takes no new runs and waits for those that go on, or gives them back; called once.
        notice_seconds: how long everything is answered as before while /readyz says no.
        transfer_seconds: how long uploads and downloads that go on are waited for, from the beginning.
        is_answered_to: whether runs are on nodes, which bring their answers to the port of this server.
    """

    def __init__(
        self,
        stop_runs: Callable[[], None],
        *,
        notice_seconds: float,
        transfer_seconds: float,
        is_answered_to: bool = False,
    ) -> None:
        self._stop_runs = stop_runs
        self._notice_seconds = notice_seconds
        self._transfer_seconds = transfer_seconds
        self._is_answered_to = is_answered_to
        self._transfers = 0
        self._runs: asyncio.Task[None] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the server is being stopped."""
        return self._runs is not None

    def begin(self) -> None:
        """Be ready no more, and let the runs end; called on the event loop."""
        if self._runs is None:
            log.info("stopping", transfers=self._transfers)
            self._runs = asyncio.create_task(anyio.to_thread.run_sync(self._stop_runs))

    async def wait_for_transfers(self) -> None:
        """Until whoever sends requests has had time to notice, and what is being sent has arrived.

        Runs on nodes are waited for too.
        """
        began = time.monotonic()
        await asyncio.sleep(self._notice_seconds)
        while self._transfers and time.monotonic() - began < self._transfer_seconds:
            await asyncio.sleep(_LOOK_SECONDS)
        if self._is_answered_to:
            await self.wait_for_runs()

    async def wait_for_runs(self) -> None:
        """Until no run goes on here."""
        self.begin()
        assert self._runs is not None
        await self._runs

    def counting(self, app: ASGIApp) -> ASGIApp:
        """The application, whose transfers are counted."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or not scope["path"].startswith(_TRANSFERS):
                await app(scope, receive, send)
                return
            self._transfers += 1
            try:
                await app(scope, receive, send)
            finally:
                self._transfers -= 1

        return counted


class DrainingServer(uvicorn.Server):
    """A server of uvicorn that drains before it closes its port."""

    def __init__(self, config: uvicorn.Config, draining: Draining) -> None:
        super().__init__(config)
        self._draining = draining
        self._waiting: asyncio.Task[None] | None = None

    async def startup(self, sockets: "list[socket.socket] | None" = None) -> None:
        """Start to serve; accept few connections in one step, but let many of them queue in the kernel."""
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(LISTEN_BACKLOG)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain, or end at once where that has begun; called by the signal."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is None or not self.started or self._draining.has_begun:
            super().handle_exit(sig, frame)
        else:
            loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._draining.begin()
        self._waiting = asyncio.create_task(self._close())

    async def _close(self) -> None:
        await self._draining.wait_for_transfers()
        self.should_exit = True
