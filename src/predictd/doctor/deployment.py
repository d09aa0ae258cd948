"""The deployment in the data dir: database, storage, queue, runtimes, data, and the server that may be running.

Nothing is made that is not there yet: a deployment that was never started is told as that.
"""

import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests
import sqlalchemy as sa

from predictd.data.layout import version_key
from predictd.data.schema import LIVE_FILE
from predictd.db import Database
from predictd.db.catalogue import list_data_versions, list_runtimes
from predictd.db.database import newest_revision
from predictd.db.models import Trigger, TriggerStatus
from predictd.doctor.checks import Check, Look, fail, ok, warn
from predictd.domain.errors import PredictdError
from predictd.domain.runs import SandboxKind
from predictd.domain.states import CLAIMED, TriggerState
from predictd.runtimes import load
from predictd.sandbox import ForkPool, probe_forked
from predictd.server.deployment import storage_of
from predictd.settings import Settings
from predictd.storage import Storage

_START = "Start it: predictd serve."
_SKEW_WARN = 0.5
_SKEW_FAIL = 5.0
_SLOW_SECONDS = 0.02
_WAITING = timedelta(minutes=10)
_TRIES = 5


def looks(settings: Settings) -> dict[str, Look]:
    """The checks of a deployment."""
    return {
        "database": lambda: database(settings),
        "storage": lambda: storage(settings),
        "queue": lambda: queue(settings),
        "runtimes": lambda: runtimes(settings),
        "forked runs": lambda: forked_runs(settings),
        "data": lambda: data(settings),
        "server": lambda: server(settings),
    }


def database(settings: Settings) -> Iterator[Check]:
    """Whether it answers, how fast, whether its schema is that of this version, and whether its clock is ours."""
    if not _exists(settings):
        yield warn("database", f"there is none at {settings.home} yet", _START)
        return
    with closing(Database(settings.resolved_database_url)) as opened:
        with opened.engine.connect() as connection:
            taken = sorted(_timed(connection) for _ in range(_TRIES))[_TRIES // 2]
            version = ".".join(map(str, connection.dialect.server_version_info or ()))
            told = f"{connection.dialect.name} {version} answers in {taken * 1000:.1f} ms"
            if taken > _SLOW_SECONDS:
                yield warn("database", told, "Each run asks it some twenty times: bring it nearer.")
            else:
                yield ok("database", told)
            if not opened.is_sqlite:
                yield _skew(connection)
        yield _schema(opened.revision())


def _schema(revision: str | None) -> Check:
    newest = newest_revision()
    if revision == newest:
        return ok("schema", f"is that of this version ({newest})")
    if revision is not None and revision > newest:
        remedy = "Install the version that the server has: an older one must not write to it."
        return fail("schema", f"revision {revision} is newer than this predictd knows ({newest})", remedy)
    return warn("schema", f"is at {revision or 'nothing'}, this version's is {newest}", "The next start upgrades it.")


def _timed(connection: sa.Connection) -> float:
    began = time.monotonic()
    connection.execute(sa.text("SELECT 1"))
    return time.monotonic() - began


def _skew(connection: sa.Connection) -> Check:
    before = datetime.now(UTC)
    theirs: datetime = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
    ours = before + (datetime.now(UTC) - before) / 2
    apart = (theirs - ours).total_seconds()
    told = f"the database's is {apart:+.2f} s from this machine's"
    remedy = "Let both machines set their clocks from the same source: leases and rounds go by them."
    if abs(apart) > _SKEW_FAIL:
        return fail("clocks", told, remedy)
    return warn("clocks", told, remedy) if abs(apart) > _SKEW_WARN else ok("clocks", told)


def storage(settings: Settings) -> Iterator[Check]:
    """Write, read and remove an object, and send one by presigned URLs, if the server runs."""
    if not settings.storage_url and not (settings.home / "storage").is_dir():
        yield warn("storage", f"there is none at {settings.home} yet", _START)
        return
    address = _address(settings)
    with closing(Database(settings.resolved_database_url)) as opened:
        try:
            found = storage_of(settings, opened, address or "")
            yield from _kept(found, address)
        except PredictdError as error:
            remedy = "See that PREDICTD_STORAGE_URL and its credentials are right and that the storage runs."
            yield fail("storage", error.message, remedy)
        except OSError as error:
            remedy = "See that the server's user may write there, and that the disk is sound."
            yield fail("storage", f"an object can't be written: {error.strerror}", remedy)


def _kept(found: Storage, address: str | None) -> Iterator[Check]:
    key, content = f"doctor/{secrets.token_hex(8)}", secrets.token_bytes(1000)
    try:
        with tempfile.TemporaryDirectory(prefix="predictd-") as place:
            path = Path(place) / "probe"
            path.write_bytes(content)
            found.put_file(key, path)
        with found.local_path(key) as kept:
            is_same = kept.read_bytes() == content
        found.delete(key)
        if is_same and found.stat(key) is None:
            yield ok("storage", "an object was written, read and removed")
        else:
            remedy = "See that nothing else writes there, and that the disk is sound."
            yield fail("storage", "an object did not come back as it was written", remedy)
        if address is not None:
            yield _sent(found, address, key, content)
    finally:
        found.delete(key)


def _sent(found: Storage, address: str, key: str, content: bytes) -> Check:
    expires = datetime.now(UTC) + timedelta(minutes=1)
    remedy = "See that PREDICTD_PUBLIC_URL is where clients reach the server, and that a proxy lets bodies through."
    try:
        put = requests.put(found.presign("PUT", key, expires_at=expires, max_bytes=2000), data=content, timeout=10)
        got = requests.get(found.presign("GET", key, expires_at=expires), timeout=10)
    except requests.RequestException as error:
        return fail("transfers", f"{address} does not answer: {type(error).__name__}", remedy)
    if put.status_code == 200 and got.content == content:
        return ok("transfers", f"an object went by presigned URLs and back, beside {address}")
    return fail("transfers", f"PUT is answered with {put.status_code}, GET with {got.status_code}", remedy)


def queue(settings: Settings) -> Iterator[Check]:
    """What waits, what is stuck, and what went wrong of late."""
    if not _exists(settings):
        return
    now = datetime.now(UTC)
    count = sa.select(sa.func.count()).select_from(Trigger)
    with closing(Database(settings.resolved_database_url)) as opened, opened.read() as session:
        due = (Trigger.state == TriggerState.PENDING, Trigger.not_before <= now)
        waiting = session.scalar(count.where(*due)) or 0
        oldest = session.scalar(sa.select(sa.func.min(Trigger.not_before)).where(*due))
        running = session.scalar(count.where(Trigger.state.in_(CLAIMED))) or 0
        expired = session.scalar(count.where(Trigger.state.in_(CLAIMED), Trigger.lease_expires_at < now)) or 0
        unheld = session.scalar(count.where(Trigger.state.in_(CLAIMED), Trigger.lease_owner.is_(None))) or 0
        owners = session.scalar(sa.select(sa.func.count(sa.distinct(Trigger.lease_owner)))) or 0
        since = now - timedelta(days=1)
        errors = sa.select(sa.func.count()).select_from(TriggerStatus).join(Trigger)
        is_error = (TriggerStatus.status == TriggerState.ERROR, TriggerStatus.inserted_at > since)
        lost = session.scalar(errors.where(*is_error, Trigger.failures > 0)) or 0
    told = f"{waiting} wait, {running} run" + (f" on {owners} workers" if running else "")
    age = now - oldest if oldest is not None else timedelta()
    if age > _WAITING:
        remedy = "See that a server runs; more workers (PREDICTD_WORKERS) or machines make it shorter."
        yield warn("queue", f"{told}; the oldest has waited for {age.total_seconds() / 60:.0f} minutes", remedy)
    else:
        yield ok("queue", told)
    stuck = f"{expired} runs have a lease that ran out, {unheld} have none"
    if expired or unheld:
        yield fail("leases", stuck, "A running server takes them up within a lease; if it does not, see its log.")
    else:
        yield ok("leases", "every run is held by a worker")
    if lost:
        yield warn("errors", f"the platform failed {lost} times in a day", "`predictd status` and the log say how.")
    else:
        yield ok("errors", "the platform has not failed in a day")


def runtimes(settings: Settings) -> Iterator[Check]:
    """Which of the runtimes that uploads may choose are built on this machine."""
    if not _exists(settings):
        return
    built = {one.folder.name for one in load(settings.runtimes_home)}
    with closing(Database(settings.resolved_database_url)) as opened, opened.read() as session:
        known = list_runtimes(session)
        missing = [one for one in known if one.folder not in built]
    remedy = "Build it here: predictd runtime build."
    if not known:
        yield warn("runtimes", "there is none yet", remedy)
    for one in missing:
        problem = f"{one.name} ({one.tag}) is not built in {settings.runtimes_home}"
        yield (
            fail("runtimes", f"{problem}, and it is the default", remedy)
            if one.is_default
            else warn("runtimes", problem, remedy)
        )
    if known and not missing:
        yield ok("runtimes", ", ".join(f"{one.name} ({one.tag})" for one in known))


def forked_runs(settings: Settings) -> Iterator[Check]:
    """Whether a run that is forked from a warm parent is as isolated as one that starts cold."""
    built = load(settings.runtimes_home)
    if not built or settings.sandbox is not SandboxKind.BUBBLEWRAP or not settings.most_warm_parents:
        return
    with tempfile.TemporaryDirectory(prefix="predictd-doctor-") as name:
        folder = Path(name)
        with closing(ForkPool(1, [folder], fork_only=True)) as parents:
            problems = probe_forked(parents, built[0].paths, settings.limits, folder)
    if problems:
        yield fail("forked runs", " ".join(problems), "Start every run cold: PREDICTD_WARM_PARENTS=0.")
    else:
        yield ok("forked runs", "no attempt to get out of one works")


def data(settings: Settings) -> Iterator[Check]:
    """Whether the data versions that uploads may choose have their files."""
    if not _exists(settings):
        return
    with closing(Database(settings.resolved_database_url)) as opened:
        with opened.read() as session:
            names = [one.name for one in list_data_versions(session)]
        if not names:
            yield warn("data", "there is no data version yet", "Import one: predictd data import.")
            return
        found = storage_of(settings, opened)
        gone = [name for name in names if found.stat(version_key(name, LIVE_FILE)) is None]
    if gone:
        yield fail("data", f"{LIVE_FILE} of {', '.join(gone)} is gone from storage", "Put it back from a backup.")
    else:
        yield ok("data", ", ".join(names))


def server(settings: Settings) -> Iterator[Check]:
    """Whether the server of this data dir answers."""
    address = _address(settings)
    if address is None:
        yield warn("server", f"none runs in {settings.home}", _START)
        return
    try:
        answer = requests.get(f"{address}/readyz", timeout=10)
    except requests.RequestException as error:
        yield fail("server", f"{address} does not answer: {type(error).__name__}", "See its log, or start it again.")
        return
    if answer.status_code == 200:
        yield ok("server", f"{address} is ready")
    else:
        yield warn("server", f"{address} is not ready: {answer.text.strip()[:100]}", "See its log.")


def _address(settings: Settings) -> str | None:
    """Where the running server of this data dir is, as far as its file says."""
    try:
        told = json.loads((settings.home / "server.json").read_text())
        os.kill(told["pid"], 0)
    except (OSError, ValueError, KeyError):
        return None
    return str(told["address"])


def _exists(settings: Settings) -> bool:
    """Whether there is a database; SQLite would make one."""
    url = sa.make_url(settings.resolved_database_url)
    return url.get_backend_name() != "sqlite" or Path(url.database or "").is_file()
