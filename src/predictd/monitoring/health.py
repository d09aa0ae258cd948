"""Whether the platform is well: what the page of the organiser and `/readyz` tell."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from predictd.db import Database
from predictd.db.database import newest_revision
from predictd.db.queue_stats import Place, list_running, list_waiting
from predictd.monitoring.server_status import Vitals
from predictd.storage import Storage

LEAST_FREE_SHARE = 0.05
LEAST_FREE_BYTES = 2 * 10**9
# Larger, and leases and deadlines of several servers mean different moments.
MOST_CLOCK_SECONDS = 2.0
MOST_TICK_SECONDS = 60.0
MOST_WAIT_SECONDS = 600.0
_GB = 10**9


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at: whether it is well, and what was found with what to do about it."""

    name: str
    is_good: bool
    told: str


def readiness(database: Database, storage: Storage) -> list[Check]:
    """Whether this server can answer: its database and its storage do."""
    return [_tried("Database", lambda: _database(database)), _tried("Storage", lambda: _storage(storage))]


def health(
    database: Database, storage: Storage, home: Path, vitals: Vitals | None, now: datetime, *, lease_seconds: float
) -> list[Check]:
    """Everything that can be looked at from within a running server."""
    checks = readiness(database, storage)
    checks.append(_disk(home))
    checks.append(_tried("Clock", lambda: _clock(database, vitals, now)))
    checks.append(_tried("Queue", lambda: _queue(database, now)))
    checks.append(_tried("Servers", lambda: _servers(database, vitals, now, lease_seconds)))
    if vitals is not None:
        checks.append(Check(name="Isolation", is_good=vitals.is_isolated, told=vitals.isolation))
        if vitals.nodes is not None:
            names = vitals.nodes()
            told = ", ".join(names) or "No machine runs models; start some with: predictd node"
            checks.append(Check(name="Nodes", is_good=bool(names), told=told))
        checks.extend(_tickers(vitals, now))
    return checks


def _tried(name: str, look: Callable[[], tuple[bool, str]]) -> Check:
    started = time.monotonic()
    try:
        is_good, told = look()
    except Exception as error:  # noqa: BLE001 (whatever it is, it is what the check found)
        return Check(name=name, is_good=False, told=f"It does not answer ({type(error).__name__}).")
    return Check(name=name, is_good=is_good, told=f"{told} ({(time.monotonic() - started) * 1000:.0f} ms)")


def _database(database: Database) -> tuple[bool, str]:
    with database.read() as session:
        session.execute(sa.text("SELECT 1"))
        found = session.scalar(sa.text("SELECT version_num FROM alembic_version"))
    kind = "SQLite" if database.is_sqlite else "PostgreSQL"
    if found != newest_revision():
        return False, f"{kind} has the schema {found}, this version of predictd {newest_revision()}: upgrade it"
    return True, f"{kind} answers, schema {found}"


def _storage(storage: Storage) -> tuple[bool, str]:
    storage.stat("health/none")
    return True, "It answers"


def _disk(home: Path) -> Check:
    usage = shutil.disk_usage(home)
    is_good = usage.free >= LEAST_FREE_BYTES and usage.free >= usage.total * LEAST_FREE_SHARE
    told = f"{usage.free / _GB:.1f} of {usage.total / _GB:.1f} GB are free in the data dir."
    return Check(name="Disk", is_good=is_good, told=told if is_good else f"{told} Make room or add disk.")


def _clock(database: Database, vitals: Vitals | None, now: datetime) -> tuple[bool, str]:
    apart = 0.0
    if not database.is_sqlite:
        with database.read() as session:
            apart = (session.scalars(sa.select(sa.func.clock_timestamp())).one() - datetime.now(UTC)).total_seconds()
    step = vitals.clock_step(now) if vitals is not None else 0.0
    if abs(apart) > MOST_CLOCK_SECONDS:
        return False, f"The database's clock is {apart:+.1f} s from this server's: keep both by NTP"
    if abs(step) > MOST_CLOCK_SECONDS:
        return False, f"The clock was set by {step:+.1f} s since the server started: keep it by NTP"
    return True, f"{now:%Y-%m-%d %H:%M:%S} UTC" + ("" if database.is_sqlite else ", the database's is the same")


def _queue(database: Database, now: datetime) -> tuple[bool, str]:
    with database.read() as session:
        waiting = list_waiting(session, now)
    oldest = min((one.oldest_due_at for one in waiting if one.oldest_due_at is not None), default=None)
    count = sum(one.count for one in waiting)
    if oldest is None:
        return True, f"{count} wait, none of them due"
    seconds = (now - oldest).total_seconds()
    return seconds < MOST_WAIT_SECONDS, f"{count} wait, the oldest due one for {seconds:.0f} s"


def _servers(database: Database, vitals: Vitals | None, now: datetime, lease_seconds: float) -> tuple[bool, str]:
    """Those that hold leases, and this one; one whose leases have all run out is lost."""
    own = vitals.server_id if vitals is not None else ""
    held: dict[str, datetime] = {}
    counts: dict[str, int] = {}
    with database.read() as session:
        for run in list_running(session):
            server = Place.of(run.lease_owner).server
            counts[server] = counts.get(server, 0) + 1
            if run.lease_expires_at is not None:
                held[server] = max(held.get(server, run.lease_expires_at), run.lease_expires_at)
    lost = [server for server, until in held.items() if until < now and server != own]
    names = sorted({*counts, *([own] if own else [])})
    told = ", ".join(
        f"{one}{' (this one)' if one == own else ''} runs {counts.get(one, 0)}"
        + (f", its leases ran out {(now - held[one]).total_seconds():.0f} s ago" if one in lost else "")
        for one in names
    )
    if lost:
        return False, f"{told}; another takes its runs up within {lease_seconds:g} s"
    return True, told or "No server holds a run"


def _tickers(vitals: Vitals, now: datetime) -> Iterator[Check]:
    for ticker in vitals.tickers:
        name = f"Ticker: {ticker.name}"
        if ticker.failed_at is not None:
            told = f"It failed at {ticker.failed_at:%H:%M:%S} UTC and is tried again; the log says why."
            yield Check(name=name, is_good=False, told=told)
            continue
        is_good = vitals.lateness(ticker, now) < MOST_TICK_SECONDS
        seconds = max((now - (ticker.ended_at or vitals.started_at)).total_seconds(), 0)
        told = f"It looked last {seconds:.0f} s ago." if ticker.ended_at is not None else "It has not looked yet."
        yield Check(name=name, is_good=is_good, told=told if is_good else f"{told} What it does takes long or hangs.")
