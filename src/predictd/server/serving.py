"""The running server: one process with the application, the workers and the calendar."""

import asyncio
import fcntl
import json
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from types import FrameType

import anyio.to_thread
import structlog
import uvicorn

from predictd.api.app import Services, build_app
from predictd.domain.errors import SetupError
from predictd.domain.runs import SandboxKind
from predictd.engine.config import WorkerConfig
from predictd.engine.executor import Executor
from predictd.rounds.calendar import parse_calendar
from predictd.rounds.life import tick
from predictd.rounds.ticker import Ticker
from predictd.sandbox import WarmParents, choose_sandbox
from predictd.server.cluster import open_cluster
from predictd.server.deployment import Deployment, open_deployment, server_id
from predictd.server.preparation import Progress, Say, ensure_data, ensure_runtime, find_runtime
from predictd.server.scoring import mapped_cache, scorer_of
from predictd.settings import Settings
from predictd.storage import FolderStorage
from predictd.web import web_routes

log = structlog.get_logger()

GRACE_SECONDS = 5
THREADS = 64
SWEEP_SECONDS = 3600
TICK_SECONDS = 1.0


def serve(settings: Settings, *, say: Say, progress: Progress, ready: Callable[[str], None]) -> None:
    """Prepare the deployment where that is needed, then serve until SIGTERM or SIGINT.

    Args:
        say: told in a line what goes on while preparing.
        progress: told the step and its share done, 0 to 1.
        ready: called with the server's address once it answers.

    Raises:
        SetupError: the machine can't isolate models, the port is taken, or another server has the data dir.
            With Ray: it is not installed, or nodes could not reach this server.
    """
    calendar = parse_calendar(settings.calendar)
    is_here = settings.executor == "local"
    kind, missing = settings.sandbox, ""
    if is_here:
        kind, missing = choose_sandbox(settings.sandbox, trust_users=settings.trust_users)
    if missing:
        say(f"Models run without isolation, because --trust-users says so: {missing}")
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = lock_home(settings.home)
    listener = _listen(settings.host, settings.port)
    address = settings.public_url or _address(settings.host, listener.getsockname()[1])
    deployment = open_deployment(settings, base_url=address)
    ensure_runtime(deployment, say)
    ensure_data(deployment, progress)
    parents = placer = place = None
    if not is_here:
        placer, place = open_cluster(deployment, listener.getsockname()[1], say)
    elif kind is SandboxKind.BUBBLEWRAP and settings.most_warm_parents:
        folders = [deployment.storage.root, settings.mapped_home]
        settings.mapped_home.mkdir(mode=0o700, exist_ok=True)
        parents = WarmParents(settings.most_warm_parents, folders)
    executor = Executor(
        deployment.database,
        deployment.storage,
        WorkerConfig(
            limits=settings.limits,
            diagnostics_limits=settings.diagnostics_limits,
            factors=settings.factors_home,
            kind=kind,
            parents=parents,
            trees=settings.trees,
            mapped=mapped_cache(deployment),
            max_attempts=settings.max_attempts,
            retry_seconds=settings.retry_seconds,
            find_runtime=partial(find_runtime, deployment),
            place=place,
        ),
        server_id=server_id(settings.home),
        workers=settings.worker_count if is_here else settings.remote_worker_count,
        lease_seconds=settings.lease_seconds,
        capacity=None if place is None else partial(place.room, settings.limits),
    )

    def look_at_calendar(now: datetime) -> None:
        if tick(deployment.database, deployment.storage, calendar, now) is not None:
            executor.wake()

    tickers = [
        Ticker("calendar", TICK_SECONDS, look_at_calendar),
        Ticker("scoring", TICK_SECONDS, scorer_of(deployment).tick),
    ]
    _run(deployment, executor, tickers, listener, partial(_announce, settings.home, address, ready))
    if parents is not None:
        parents.close()
    if placer is not None:
        placer.close()
    deployment.database.close()
    (settings.home / "server.json").unlink(missing_ok=True)
    lock.close()


def lock_home(home: Path) -> TextIOWrapper:
    """Take the data dir for this process; the lock ends with the process, however it ends.

    Raises:
        SetupError: another server has it.
    """
    file = (home / "server.lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise SetupError(
            f"Another predictd server runs in {home}; stop it, or choose another folder with --data-dir."
        ) from error
    return file


def _run(
    deployment: Deployment,
    executor: Executor,
    tickers: Sequence[Ticker],
    listener: socket.socket,
    announce: Callable[[], None],
) -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        executor.start()
        for ticker in tickers:
            ticker.start()
        announce()
        sweeping = asyncio.create_task(_sweep(deployment.storage))
        try:
            yield
        finally:
            log.info("stopping")
            sweeping.cancel()
            for ticker in tickers:
                await anyio.to_thread.run_sync(ticker.stop)
            await anyio.to_thread.run_sync(executor.stop, deployment.settings.drain_seconds)

    def drain() -> None:
        log.info("draining")
        executor.stop(deployment.settings.drain_seconds)

    services = Services(
        database=deployment.database, storage=deployment.storage, settings=deployment.settings, wake=executor.wake
    )
    # The server stops on these by itself and then hands them on to whoever was there before: nobody, it has ended well.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    config = uvicorn.Config(
        build_app(services, lifespan, web_routes(services)),
        log_level="warning",
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=GRACE_SECONDS,
        proxy_headers=bool(deployment.settings.trusted_proxies),
        forwarded_allow_ips=deployment.settings.trusted_proxies or None,
    )
    server = uvicorn.Server(config) if deployment.settings.executor == "local" else _DrainingServer(config, drain)
    server.run(sockets=[listener])


class _DrainingServer(uvicorn.Server):
    """Goes on answering while runs are waited for: nodes bring their answers to it. A second signal ends it at once."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._drain = drain
        self._draining: threading.Thread | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._draining is not None:
            super().handle_exit(sig, frame)
            return

        def drain_first() -> None:
            self._drain()
            super(_DrainingServer, self).handle_exit(sig, frame)

        self._draining = threading.Thread(target=drain_first, name="draining", daemon=True)
        self._draining.start()


async def _sweep(storage: FolderStorage) -> None:
    """Remove what broken and unregistered uploads left, now and then."""
    while True:
        removed = await anyio.to_thread.run_sync(storage.sweep)
        if removed:
            log.info("uploads_swept", count=removed)
        await asyncio.sleep(SWEEP_SECONDS)


def _announce(home: Path, address: str, ready: Callable[[str], None]) -> None:
    draft = home / ".server.json"
    draft.write_text(json.dumps({"address": address, "pid": os.getpid()}))
    draft.replace(home / "server.json")
    ready(address)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise SetupError(
            f"Port {port} of {host} can't be used: {error.strerror}. Choose another with --port (0 takes a free one)."
        ) from error
    return listener


def _address(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{reachable}:{port}"
