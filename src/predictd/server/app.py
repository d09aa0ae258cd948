"""The running server: one process with the application, the workers and the calendar."""

import asyncio
import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from io import TextIOWrapper
from pathlib import Path

import anyio.to_thread
import structlog
import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from predictd.admin.garbage_collection import sweep_orphans
from predictd.admin.retention import remove
from predictd.api.app import build_app
from predictd.backup import refuse_unfinished_import
from predictd.db.catalogue import choose_runtime
from predictd.domain.errors import PlatformError, SetupError
from predictd.domain.runs import SandboxKind
from predictd.http.services import Services
from predictd.monitoring.server_status import ServerStatus
from predictd.notifications.dispatcher import Courier
from predictd.rounds.calendar import parse_calendar, parse_length
from predictd.rounds.lifecycle import tick
from predictd.rounds.scheduler import Ticker
from predictd.sandbox import ForkPool, choose_sandbox, probe_forked
from predictd.server.cluster import open_cluster
from predictd.server.connections import ACCEPTED_AT_ONCE, BoundedProtocol, Connections, raise_descriptor_limit
from predictd.server.deployment import Deployment, open_deployment, server_id
from predictd.server.request_limit import Turns
from predictd.server.scoring import mapped_cache, scorer_of
from predictd.server.setup import Progress, Say, ensure_data, ensure_runtime, find_runtime, has_runtime
from predictd.server.shutdown import LISTEN_BACKLOG, Draining, DrainingServer
from predictd.server.telling import courier_of, mail_server_of
from predictd.settings import Settings
from predictd.web import web_routes
from predictd.worker.cluster_backend import RemoteRuns
from predictd.worker.config import WorkerConfig
from predictd.worker.pool import Executor

log = structlog.get_logger()

GRACE_SECONDS = 5
THREADS = 64
SWEEP_SECONDS = 3600
TICK_SECONDS = 1.0
VANISHED_SECONDS = 120
# How long a thread may keep the interpreter while others wait. Requests take many short steps, at each of which they
# would wait that long for a worker that is computing; the interpreter's own 5 ms add up to most of their time.
SWITCH_SECONDS = 0.001


def serve(settings: Settings, *, say: Say, progress: Progress, ready: Callable[[str], None]) -> None:
    """Prepare the deployment where that is needed, then serve until SIGTERM or SIGINT.

    Args:
        say: told in a line what goes on while preparing.
        progress: told the step and its share done, 0 to 1.
        ready: called with the server's address once it answers.

    Raises:
        SetupError: the machine can't isolate models, a setting can't be taken, the port is taken, or another server has
            the data dir. With Ray: it is not installed, or nodes could not reach this server.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    calendar = parse_calendar(settings.calendar)
    mail_server_of(settings)
    kept = {"logs": settings.keep_logs, "pickles": settings.keep_pickles}
    ages = {kind: parse_length(age) for kind, age in kept.items() if age}
    is_here = settings.executor == "local"
    kind, missing = settings.sandbox, ""
    if is_here:
        kind, missing = choose_sandbox(settings.sandbox, trust_users=settings.trust_users)
    if missing:
        say(f"Models run without isolation, because --trust-users says so: {missing}")
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = lock_home(settings.home)
    use_own_temporary_folder(settings.home)
    listener = _listen(settings.host, settings.port)
    address = settings.public_url or _address(settings.host, listener.getsockname()[1])
    deployment = open_deployment(settings, base_url=address)
    deployment.storage.check()
    refuse_unfinished_import(deployment.storage)
    with deployment.database.prepared_by_one():
        ensure_runtime(deployment, say)
        ensure_data(deployment, progress)
    parents = placer = place = None
    if not is_here:
        placer, place = open_cluster(deployment, listener.getsockname()[1], say)
    elif kind is SandboxKind.BUBBLEWRAP and settings.most_warm_parents:
        folders = [*deployment.storage.local_folders, settings.mapped_home]
        settings.mapped_home.mkdir(mode=0o700, exist_ok=True)
        parents = ForkPool(settings.most_warm_parents, folders)
        _check_forked(deployment, parents)
    server = server_id(settings.home)
    executor = Executor(
        deployment.database,
        deployment.storage,
        _config_of(deployment, kind, parents, place),
        server_id=server,
        workers=settings.worker_count if is_here else settings.remote_worker_count,
        lease_seconds=settings.lease_seconds,
        capacity=None if place is None else partial(place.room, settings.limits),
        has_one_place=None if place is None else partial(place.has_one_place, settings.limits),
    )

    def look_at_calendar(now: datetime) -> None:
        if tick(deployment.database, deployment.storage, calendar, now) is not None:
            executor.wake()

    scorer = scorer_of(deployment)
    tickers: list[Ticker | Courier] = [
        Ticker("calendar", TICK_SECONDS, look_at_calendar),
        Ticker("scoring", TICK_SECONDS, scorer.tick),
        courier_of(deployment, address),
    ]
    if ages:
        tickers.append(Ticker("retention", SWEEP_SECONDS, partial(_remove_old, deployment, ages)))
    vitals = ServerStatus(
        server_id=server,
        workers=settings.worker_count if is_here else settings.remote_worker_count,
        isolation=_isolation(kind, missing, is_here=is_here),
        is_isolated=not missing,
        tickers=[one for one in tickers if isinstance(one, Ticker)],
        fork_pool=parents,
        nodes=None if placer is None else placer.nodes,
    )
    services = Services(
        database=deployment.database,
        storage=deployment.storage,
        settings=settings,
        wake=executor.wake,
        scorer=scorer,
        vitals=vitals,
    )
    _run(deployment, services, executor, tickers, listener, partial(_announce, settings.home, address, ready))
    if parents is not None:
        parents.close()
    if placer is not None:
        placer.close()
    deployment.database.close()
    (settings.home / "server.json").unlink(missing_ok=True)
    lock.close()


def _check_forked(deployment: Deployment, parents: ForkPool) -> None:
    """Raise SetupError where runs that are forked from a warm parent are not isolated; leaves it to the first runs.

    Where none can be forked, runs start cold.
    """
    settings = deployment.settings
    with deployment.database.read() as session:
        folder = choose_runtime(session, None).folder
    try:
        # What is logged of this run belongs to no trigger.
        with structlog.contextvars.bound_contextvars(purpose="isolation_probe"):
            problems = probe_forked(parents, find_runtime(deployment, folder), settings.limits, settings.mapped_home)
    except PlatformError as error:
        log.warning("forked_runs_not_checked", error=error.message)
        return
    if problems and not settings.trust_users:
        raise SetupError(
            f"Runs forked from a warm parent are not isolated on this machine: {' '.join(problems)} "
            "To start every run cold, say PREDICTD_WARM_PARENTS=0."
        )


def _config_of(
    deployment: Deployment, kind: SandboxKind, parents: ForkPool | None, place: RemoteRuns | None
) -> WorkerConfig:
    settings = deployment.settings
    return WorkerConfig(
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
        has_runtime=partial(has_runtime, deployment),
        quotas=settings.quotas,
        account_runs=settings.account_runs,
        place=place,
    )


def _isolation(kind: SandboxKind, missing: str, *, is_here: bool) -> str:
    if not is_here:
        return "Models run on the nodes of a cluster, which isolate them."
    return f"Models run without isolation: {missing}" if missing else f"Models run isolated by {kind.value}."


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
    services: Services,
    executor: Executor,
    tickers: Sequence[Ticker | Courier],
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
        sweeping = [asyncio.create_task(_sweep(deployment)), asyncio.create_task(connections.sweep())]
        try:
            yield
        finally:
            for task in sweeping:
                task.cancel()
            for ticker in tickers:
                await anyio.to_thread.run_sync(ticker.stop)
            await draining.wait_for_runs()

    settings = deployment.settings
    draining = Draining(
        partial(executor.stop, settings.drain_seconds),
        notice_seconds=settings.drain_notice_seconds,
        transfer_seconds=settings.drain_notice_seconds + settings.drain_seconds,
        is_answered_to=settings.executor == "ray",
    )
    services = replace(services, is_stopping=lambda: draining.has_begun)
    # The server stops on these by itself and then hands them on to whoever was there before: nobody, it has ended well.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    app = Turns(draining.counting(build_app(services, lifespan, web_routes(services))))
    proxied = ProxyHeadersMiddleware(app, settings.trusted_proxies)  # type: ignore[arg-type]
    connections = Connections(raise_descriptor_limit(), proxied.trusted_hosts.__contains__)
    config = uvicorn.Config(
        proxied,
        # Its lines go to the program's own log.
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=GRACE_SECONDS,
        proxy_headers=False,
        http=partial(BoundedProtocol, connections),  # type: ignore[arg-type]
        ws="none",
        backlog=ACCEPTED_AT_ONCE,
    )
    # Such a failure is logged already, with the id of its request.
    logging.getLogger("uvicorn.error").addFilter(lambda one: "Exception in ASGI application" not in one.getMessage())
    DrainingServer(config, draining).run(sockets=[listener])


async def _sweep(deployment: Deployment) -> None:
    """Remove what broken uploads and lost runs left, now and then."""
    abandoned = deployment.settings.abandoned_hours * 3600

    def sweep() -> int:
        now = time.time()
        drafts = deployment.storage.sweep(now, abandoned)
        return drafts + sweep_orphans(deployment.database, deployment.storage, now - abandoned)

    while True:
        try:
            removed = await anyio.to_thread.run_sync(sweep)
            if removed:
                log.info("leftovers_swept", count=removed)
        except Exception:
            log.exception("sweep_failed")
        await asyncio.sleep(min(SWEEP_SECONDS, max(1.0, abandoned / 2)))


def use_own_temporary_folder(home: Path) -> None:
    """Let temporary files lie in the data dir, where those of a server that was killed are found and removed.

    The data dir must be locked.
    """
    folder = home / "tmp"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    tempfile.tempdir = str(folder)


def _remove_old(deployment: Deployment, ages: dict[str, timedelta], now: datetime) -> None:
    """Remove what is old; servers that do it at once do not mind each other."""
    done = remove(deployment.database, deployment.storage, now, **ages, progress=lambda _step, _share: None)
    if done.logs or done.pickles:
        log.info("old_removed", logs=len(done.logs), pickles=len(done.pickles))


def _announce(home: Path, address: str, ready: Callable[[str], None]) -> None:
    draft = home / ".server.json"
    draft.write_text(json.dumps({"address": address, "pid": os.getpid()}))
    draft.replace(home / "server.json")
    ready(address)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit both: a client that vanished is noticed, whether something is being sent or not.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, VANISHED_SECONDS * 1000)
    try:
        listener.bind((host, port))
        listener.listen(LISTEN_BACKLOG)
    except OSError as error:
        listener.close()
        raise SetupError(
            f"Port {port} of {host} can't be used: {error.strerror}. Choose another with --port (0 takes a free one)."
        ) from error
    return listener


def _address(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{reachable}:{port}"
