"""The server process: the application, the workers and the periodic tasks."""

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

from predictd.admin.garbage_collection import delete_orphans
from predictd.admin.retention import remove_expired
from predictd.api.asgi import build_app
from predictd.backup import refuse_unfinished_import
from predictd.db.catalog import choose_runtime
from predictd.domain.errors import PlatformError, SetupError
from predictd.domain.runs import SandboxKind
from predictd.http.services import Services
from predictd.monitoring.server_status import ServerStatus
from predictd.notifications.deliveries import DeliveryPolicy
from predictd.notifications.dispatcher import NotificationDispatcher
from predictd.notifications.smtp import parse_mail_server
from predictd.rounds.calendar import parse_calendar, parse_length
from predictd.rounds.lifecycle import apply_calendar
from predictd.rounds.periodic_task import PeriodicTask
from predictd.sandbox import ForkPool, choose_sandbox, probe_forked
from predictd.server.cluster import open_cluster
from predictd.server.connections import ACCEPT_BATCH, BoundedProtocol, Connections, raise_descriptor_limit
from predictd.server.deployment import Deployment, mapped_cache, open_deployment, round_scorer, server_id
from predictd.server.request_limit import RequestLimiter
from predictd.server.setup import Echo, Progress, ensure_data, ensure_runtime, find_runtime, has_runtime
from predictd.server.shutdown import LISTEN_BACKLOG, GracefulServer, GracefulShutdown
from predictd.settings import Settings
from predictd.web import web_routes
from predictd.worker.cluster_backend import ClusterBackend
from predictd.worker.config import WorkerConfig
from predictd.worker.pool import WorkerPool

log = structlog.get_logger()

GRACE_SECONDS = 5
THREADS = 64
SWEEP_SECONDS = 3600
TICK_SECONDS = 1.0
TCP_TIMEOUT_SECONDS = 120
# Interval of thread switches. Requests take many short steps and may wait this long at each for a busy worker; the
# default of 5 ms would add up to most of their time.
SWITCH_SECONDS = 0.001


def serve(settings: Settings, *, say: Echo, progress: Progress, ready: Callable[[str], None]) -> None:
    """Set up the deployment if needed, then serve until SIGTERM or SIGINT.

    Args:
        say: called with progress messages of the setup.
        progress: called with the setup step and its progress, 0 to 1.
        ready: called with the URL of the server when it accepts requests.

    Raises:
        SetupError: the machine can't isolate models, a setting is invalid, the port is in use, or another server uses
            the data directory. With Ray: it is not installed, or nodes can't reach this server.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    calendar = parse_calendar(settings.calendar)
    mail_server = parse_mail_server(settings.smtp_url, settings.mail_from)
    kept = {"logs": settings.log_retention, "pickles": settings.pickle_retention}
    ages = {kind: parse_length(age) for kind, age in kept.items() if age}
    is_local = settings.executor == "local"
    kind, missing = settings.sandbox, ""
    if is_local:
        kind, missing = choose_sandbox(settings.sandbox, trust_users=settings.trust_users)
    if missing:
        say(f"Models run without isolation because of --trust-users: {missing}")
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = lock_home(settings.home)
    use_private_temp_dir(settings.home)
    listener = _listen(settings.host, settings.port)
    address = settings.public_url or _address(settings.host, listener.getsockname()[1])
    deployment = open_deployment(settings, base_url=address)
    deployment.storage.check()
    refuse_unfinished_import(deployment.storage)
    with deployment.database.prepared_by_one():
        ensure_runtime(deployment, say)
        ensure_data(deployment, progress)
    parents = placer = backend = None
    if not is_local:
        placer, backend = open_cluster(deployment, listener.getsockname()[1], say)
    elif kind is SandboxKind.BUBBLEWRAP and settings.most_warm_parents:
        folders = [*deployment.storage.local_folders, settings.mapped_home]
        settings.mapped_home.mkdir(mode=0o700, exist_ok=True)
        parents = ForkPool(settings.most_warm_parents, folders)
        _check_fork_isolation(deployment, parents)
    server = server_id(settings.home)
    pool = WorkerPool(
        deployment.database,
        deployment.storage,
        _config_of(deployment, kind, parents, backend),
        server_id=server,
        workers=settings.worker_count if is_local else settings.remote_worker_count,
        lease_seconds=settings.lease_seconds,
        capacity=None if backend is None else partial(backend.room, settings.limits),
        is_single_slot=None if backend is None else partial(backend.is_single_slot, settings.limits),
    )

    def look_at_calendar(now: datetime) -> None:
        if apply_calendar(deployment.database, deployment.storage, calendar, now) is not None:
            pool.wake()

    scorer = round_scorer(deployment)
    periodic_tasks: list[PeriodicTask | NotificationDispatcher] = [
        PeriodicTask("calendar", TICK_SECONDS, look_at_calendar),
        PeriodicTask("scoring", TICK_SECONDS, scorer.tick),
        NotificationDispatcher(
            deployment.database,
            owner=server,
            address=address,
            mail_server=mail_server,
            allow_private=settings.allow_private_webhooks,
            policy=DeliveryPolicy(
                batch_seconds=settings.email_batch_seconds, retry_seconds=settings.notification_retry_seconds
            ),
        ),
    ]
    if ages:
        periodic_tasks.append(PeriodicTask("retention", SWEEP_SECONDS, partial(_apply_retention, deployment, ages)))
    server_status = ServerStatus(
        server_id=server,
        workers=settings.worker_count if is_local else settings.remote_worker_count,
        isolation=_isolation(kind, missing, is_local=is_local),
        is_isolated=not missing,
        tickers=[one for one in periodic_tasks if isinstance(one, PeriodicTask)],
        fork_pool=parents,
        nodes=None if placer is None else placer.nodes,
    )
    services = Services(
        database=deployment.database,
        storage=deployment.storage,
        settings=settings,
        wake=pool.wake,
        scorer=scorer,
        vitals=server_status,
    )
    _run(deployment, services, pool, periodic_tasks, listener, partial(_announce, settings.home, address, ready))
    if parents is not None:
        parents.close()
    if placer is not None:
        placer.close()
    deployment.database.close()
    (settings.home / "server.json").unlink(missing_ok=True)
    lock.close()


def _check_fork_isolation(deployment: Deployment, parents: ForkPool) -> None:
    """Raise SetupError if runs forked from a fork server are not isolated.

    If no run can be forked, runs start cold.
    """
    settings = deployment.settings
    with deployment.database.read() as session:
        folder = choose_runtime(session, None).folder
    try:
        # Log events of this run have no run.
        with structlog.contextvars.bound_contextvars(purpose="isolation_probe"):
            problems = probe_forked(parents, find_runtime(deployment, folder), settings.limits, settings.mapped_home)
    except PlatformError as error:
        log.warning("forked_runs_not_checked", error=error.message)
        return
    if problems and not settings.trust_users:
        raise SetupError(
            f"Runs forked from a fork server are not isolated on this machine: {' '.join(problems)} "
            "To start every run cold, set PREDICTD_WARM_PARENTS=0."
        )


def _config_of(
    deployment: Deployment, kind: SandboxKind, parents: ForkPool | None, backend: ClusterBackend | None
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
        backend=backend,
    )


def _isolation(kind: SandboxKind, missing: str, *, is_local: bool) -> str:
    if not is_local:
        return "Models run on the nodes of a cluster, which isolate them."
    return f"Models run without isolation: {missing}" if missing else f"Models run isolated by {kind.value}."


def lock_home(home: Path) -> TextIOWrapper:
    """Lock the data directory for this process; the lock ends with the process.

    Raises:
        SetupError: another server has the lock.
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
    pool: WorkerPool,
    periodic_tasks: Sequence[PeriodicTask | NotificationDispatcher],
    listener: socket.socket,
    announce: Callable[[], None],
) -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        pool.start()
        for periodic_task in periodic_tasks:
            periodic_task.start()
        announce()
        sweeping = [asyncio.create_task(_sweep(deployment)), asyncio.create_task(connections.sweep())]
        try:
            yield
        finally:
            for task in sweeping:
                task.cancel()
            for periodic_task in periodic_tasks:
                await anyio.to_thread.run_sync(periodic_task.stop)
            await shutdown.wait_for_runs()

    settings = deployment.settings
    shutdown = GracefulShutdown(
        partial(pool.stop, settings.drain_seconds),
        notice_seconds=settings.drain_notice_seconds,
        transfer_seconds=settings.drain_notice_seconds + settings.drain_seconds,
        receives_results=settings.executor == "ray",
    )
    services = replace(services, is_stopping=lambda: shutdown.is_stopping)
    # Uvicorn raises these signals again after the shutdown; ignore them, because the server ended normally.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    app = RequestLimiter(shutdown.counting(build_app(services, lifespan, web_routes(services))))
    proxied = ProxyHeadersMiddleware(app, settings.trusted_proxies)  # type: ignore[arg-type]
    connections = Connections(raise_descriptor_limit(), proxied.trusted_hosts.__contains__)
    config = uvicorn.Config(
        proxied,
        # Its messages go to the server log.
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=GRACE_SECONDS,
        proxy_headers=False,
        http=partial(BoundedProtocol, connections),  # type: ignore[arg-type]
        ws="none",
        backlog=ACCEPT_BATCH,
    )
    # The application already logged the exception with its request id.
    logging.getLogger("uvicorn.error").addFilter(
        lambda record: "Exception in ASGI application" not in record.getMessage()
    )
    GracefulServer(config, shutdown).run(sockets=[listener])


async def _sweep(deployment: Deployment) -> None:
    """Periodically delete leftovers of broken uploads and lost runs."""
    abandoned = deployment.settings.abandoned_hours * 3600

    def sweep() -> int:
        now = time.time()
        drafts = deployment.storage.sweep(now, abandoned)
        return drafts + delete_orphans(deployment.database, deployment.storage, now - abandoned)

    while True:
        try:
            removed = await anyio.to_thread.run_sync(sweep)
            if removed:
                log.info("orphans_deleted", count=removed)
        except Exception:
            log.exception("sweep_failed")
        await asyncio.sleep(min(SWEEP_SECONDS, max(1.0, abandoned / 2)))


def use_private_temp_dir(home: Path) -> None:
    """Create temporary files in the data directory, and delete those of a killed server.

    The data directory must be locked.
    """
    folder = home / "tmp"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    tempfile.tempdir = str(folder)


def _apply_retention(deployment: Deployment, ages: dict[str, timedelta], now: datetime) -> None:
    """Apply the retention settings; safe to run on several servers at once."""
    done = remove_expired(deployment.database, deployment.storage, now, **ages, progress=lambda _step, _share: None)
    if done.logs or done.pickles:
        log.info("retention_applied", logs=len(done.logs), pickles=len(done.pickles))


def _announce(home: Path, address: str, ready: Callable[[str], None]) -> None:
    draft = home / ".server.json"
    draft.write_text(json.dumps({"address": address, "pid": os.getpid()}))
    draft.replace(home / "server.json")
    ready(address)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit both options, which detect lost clients.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_TIMEOUT_SECONDS * 1000)
    try:
        listener.bind((host, port))
        listener.listen(LISTEN_BACKLOG)
    except OSError as error:
        listener.close()
        raise SetupError(
            f"Port {port} of {host} is unavailable: {error.strerror}. Choose another --port (0 selects a free one)."
        ) from error
    return listener


def _address(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{reachable}:{port}"
