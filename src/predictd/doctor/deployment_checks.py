"""Checks of the deployment in the data dir: database, storage, queue, runtimes, data, and its server.

The checks create nothing: a deployment that has never started is reported as such.
"""

import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import requests
import sqlalchemy as sa

from predictd.data.layout import version_key
from predictd.data.schema import LIVE_FILE
from predictd.db import Database
from predictd.db.catalog import list_data_versions, list_runtimes
from predictd.db.models import Run, RunStatus
from predictd.domain.errors import PredictdError
from predictd.domain.runs import SandboxKind
from predictd.domain.states import RunState
from predictd.monitoring.checks import Check, RunCheck, fail, ok, warn
from predictd.monitoring.health import check_clock, check_database, check_leases, check_queue
from predictd.runtimes import load
from predictd.sandbox import ForkPool, probe_forked
from predictd.server.deployment import open_configured_storage
from predictd.settings import Settings
from predictd.storage import Storage

_START = "Start it: predictd serve."
_TIMEOUT_SECONDS = 10


def deployment_checks(settings: Settings) -> dict[str, RunCheck]:
    """Return the checks of a deployment by name."""
    checks: dict[str, Callable[[Settings], Iterator[Check]]] = {
        "database": check_database_and_clock,
        "storage": check_object_storage,
        "queue": check_runs,
        "runtimes": check_runtimes,
        "forked runs": check_forked_runs,
        "data": check_data,
        "server": check_server,
    }
    return {name: partial(check, settings) for name, check in checks.items()}


def check_database_and_clock(settings: Settings) -> Iterator[Check]:
    """Check the database: response time, schema and clock."""
    if not _has_database(settings):
        yield warn("database", f"there is none in {settings.home} yet", _START)
        return
    with closing(Database(settings.resolved_database_url)) as database:
        yield from check_database(database)
        yield from check_clock(database, None, datetime.now(UTC))


def check_object_storage(settings: Settings) -> Iterator[Check]:
    """Write, read and remove an object, and transfer one with presigned URLs if the server runs."""
    if not settings.storage_url and not (settings.home / "storage").is_dir():
        yield warn("storage", f"there is none in {settings.home} yet", _START)
        return
    address = _address(settings)
    with closing(Database(settings.resolved_database_url)) as database:
        try:
            yield from _check_objects(open_configured_storage(settings, database, address or ""), address)
        except PredictdError as error:
            remedy = "Check PREDICTD_STORAGE_URL, its credentials, and that the storage runs."
            yield fail("storage", error.message, remedy)
        except OSError as error:
            remedy = "Check that the server's user can write there, and that the disk is intact."
            yield fail("storage", f"an object can't be written: {error.strerror}", remedy)


def _check_objects(storage: Storage, address: str | None) -> Iterator[Check]:
    key, content = f"doctor/{secrets.token_hex(8)}", secrets.token_bytes(1000)
    try:
        with tempfile.TemporaryDirectory(prefix="predictd-") as folder:
            path = Path(folder) / "probe"
            path.write_bytes(content)
            storage.put_file(key, path)
        with storage.local_path(key) as stored:
            is_same = stored.read_bytes() == content
        storage.delete(key)
        if is_same and storage.stat(key) is None:
            yield ok("storage", "an object was written, read and removed")
        else:
            remedy = "Check that nothing else writes there, and that the disk is intact."
            yield fail("storage", "an object was read with other content than it was written", remedy)
        if address is not None:
            yield _check_transfers(storage, address, key, content)
    finally:
        storage.delete(key)


def _check_transfers(storage: Storage, address: str, key: str, content: bytes) -> Check:
    expires = datetime.now(UTC) + timedelta(minutes=1)
    remedy = "Check that clients reach the server at PREDICTD_PUBLIC_URL, and that a proxy forwards bodies."
    try:
        put = requests.put(
            storage.presign("PUT", key, expires_at=expires, max_bytes=2000), data=content, timeout=_TIMEOUT_SECONDS
        )
        got = requests.get(storage.presign("GET", key, expires_at=expires), timeout=_TIMEOUT_SECONDS)
    except requests.RequestException as error:
        return fail("transfers", f"{address} does not respond: {type(error).__name__}", remedy)
    if put.status_code == 200 and got.content == content:
        return ok("transfers", f"an object was uploaded and downloaded by presigned URLs of {address}")
    return fail("transfers", f"PUT returned {put.status_code}, GET {got.status_code}", remedy)


def check_runs(settings: Settings) -> Iterator[Check]:
    """Check pending runs, leases, and failures of the platform within a day."""
    if not _has_database(settings):
        return
    now = datetime.now(UTC)
    with closing(Database(settings.resolved_database_url)) as database:
        yield from check_queue(database, now)
        yield from check_leases(database, None, now)
        errors = sa.select(sa.func.count()).select_from(RunStatus).join(Run)
        is_recent = RunStatus.inserted_at > now - timedelta(days=1)
        with database.read() as session:
            count = session.scalar(errors.where(RunStatus.status == RunState.ERROR, is_recent, Run.failures > 0))
    if count:
        yield warn("errors", f"the platform failed {count} times within a day", "See `predictd status` and the log.")
    else:
        yield ok("errors", "the platform has not failed within a day")


def check_runtimes(settings: Settings) -> Iterator[Check]:
    """Check that the runtimes that uploads can choose are built on this machine."""
    if not _has_database(settings):
        return
    built = {runtime.folder.name for runtime in load(settings.runtimes_home)}
    with closing(Database(settings.resolved_database_url)) as database, database.read() as session:
        offered = list_runtimes(session)
        missing = [runtime for runtime in offered if runtime.folder not in built]
    remedy = "Build it here: predictd runtime build."
    if not offered:
        yield warn("runtimes", "there is none yet", remedy)
    for runtime in missing:
        problem = f"{runtime.name} ({runtime.tag}) is not built in {settings.runtimes_home}"
        yield (
            fail("runtimes", f"{problem}, and it is the default", remedy)
            if runtime.is_default
            else warn("runtimes", problem, remedy)
        )
    if offered and not missing:
        yield ok("runtimes", ", ".join(f"{runtime.name} ({runtime.tag})" for runtime in offered))


def check_forked_runs(settings: Settings) -> Iterator[Check]:
    """Check that forked runs are isolated like runs that start cold."""
    built = load(settings.runtimes_home)
    if not built or settings.sandbox is not SandboxKind.BUBBLEWRAP or not settings.most_warm_parents:
        return
    with tempfile.TemporaryDirectory(prefix="predictd-doctor-") as name:
        folder = Path(name)
        with closing(ForkPool(1, [folder], fork_only=True)) as fork_pool:
            problems = probe_forked(fork_pool, built[0].paths, settings.limits, folder)
    if problems:
        yield fail("forked runs", " ".join(problems), "Start every run cold: PREDICTD_WARM_PARENTS=0.")
    else:
        yield ok("forked runs", "all attempts to escape fail")


def check_data(settings: Settings) -> Iterator[Check]:
    """Check that the data versions that uploads can choose have their files."""
    if not _has_database(settings):
        return
    with closing(Database(settings.resolved_database_url)) as database:
        with database.read() as session:
            names = [version.name for version in list_data_versions(session)]
        if not names:
            yield warn("data", "there is no data version yet", "Import one: predictd data import.")
            return
        storage = open_configured_storage(settings, database)
        missing = [name for name in names if storage.stat(version_key(name, LIVE_FILE)) is None]
    if missing:
        yield fail("data", f"{LIVE_FILE} of {', '.join(missing)} is missing in storage", "Restore it from a backup.")
    else:
        yield ok("data", ", ".join(names))


def check_server(settings: Settings) -> Iterator[Check]:
    """Check that the server of this data dir responds."""
    address = _address(settings)
    if address is None:
        yield warn("server", f"none runs in {settings.home}", _START)
        return
    try:
        response = requests.get(f"{address}/readyz", timeout=_TIMEOUT_SECONDS)
    except requests.RequestException as error:
        yield fail("server", f"{address} does not respond: {type(error).__name__}", "See its log, or restart it.")
        return
    if response.status_code == 200:
        yield ok("server", f"{address} is ready")
    else:
        yield warn("server", f"{address} is not ready: {response.text.strip()[:100]}", "See its log.")


def _address(settings: Settings) -> str | None:
    """Return the address of the running server of this data dir, or None."""
    try:
        file = json.loads((settings.home / "server.json").read_text())
        os.kill(file["pid"], 0)
    except (OSError, ValueError, KeyError):
        return None
    return str(file["address"])


def _has_database(settings: Settings) -> bool:
    """Return whether there is a database, which SQLite would otherwise create."""
    url = sa.make_url(settings.resolved_database_url)
    return url.get_backend_name() != "sqlite" or Path(url.database or "").is_file()
