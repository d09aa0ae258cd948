"""Graceful shutdown: fail the readiness probe, stop claiming runs, then wait for active runs and transfers.

The first SIGTERM or SIGINT starts it, a second one stops the server immediately.
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

_POLL_SECONDS = 0.05
_TRANSFERS = "/files"
# Connections that the kernel holds until the server accepts them.
LISTEN_BACKLOG = 1024


class GracefulShutdown:
    """The progress of a graceful shutdown.

    Args:
        stop_runs: stops claiming and waits for active runs, or requeues them; called once.
        notice_seconds: how long requests are served normally after /readyz fails.
        transfer_seconds: how long to wait for active transfers, from the start of the shutdown.
        receives_results: whether nodes send their results to the port of this server.
    """

    def __init__(
        self,
        stop_runs: Callable[[], None],
        *,
        notice_seconds: float,
        transfer_seconds: float,
        receives_results: bool = False,
    ) -> None:
        self._stop_runs = stop_runs
        self._notice_seconds = notice_seconds
        self._transfer_seconds = transfer_seconds
        self._is_answered_to = receives_results
        self._transfers = 0
        self._runs: asyncio.Task[None] | None = None

    @property
    def is_stopping(self) -> bool:
        """Return whether the server is stopping."""
        return self._runs is not None

    def begin(self) -> None:
        """Start the shutdown; called on the event loop."""
        if self._runs is None:
            log.info("stopping", transfers=self._transfers)
            self._runs = asyncio.create_task(anyio.to_thread.run_sync(self._stop_runs))

    async def wait_for_transfers(self) -> None:
        """Wait for the notice period and active transfers, and for runs on nodes."""
        started = time.monotonic()
        await asyncio.sleep(self._notice_seconds)
        while self._transfers and time.monotonic() - started < self._transfer_seconds:
            await asyncio.sleep(_POLL_SECONDS)
        if self._is_answered_to:
            await self.wait_for_runs()

    async def wait_for_runs(self) -> None:
        """Wait until no run is active."""
        self.begin()
        assert self._runs is not None
        await self._runs

    def counting(self, app: ASGIApp) -> ASGIApp:
        """Wrap the application to count its transfers."""

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


class GracefulServer(uvicorn.Server):
    """A uvicorn server that shuts down gracefully before it closes its port."""

    def __init__(self, config: uvicorn.Config, shutdown: GracefulShutdown) -> None:
        super().__init__(config)
        self._shutdown = shutdown
        self._waiting: asyncio.Task[None] | None = None

    async def startup(self, sockets: "list[socket.socket] | None" = None) -> None:
        """Start to serve; accept few connections in one step, but let many of them queue in the kernel."""
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(LISTEN_BACKLOG)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start the shutdown, or stop immediately if it has started; called by the signal."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is None or not self.started or self._shutdown.is_stopping:
            super().handle_exit(sig, frame)
        else:
            loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._shutdown.begin()
        self._waiting = asyncio.create_task(self._close())

    async def _close(self) -> None:
        await self._shutdown.wait_for_transfers()
        self.should_exit = True
