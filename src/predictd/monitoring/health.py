"""Health of a deployment: the checks of the admin page, `/readyz` and `predictd doctor`."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from predictd.db import Database
from predictd.db.migrations.revisions import newest_revision
from predictd.db.queue_stats import WorkerSlot, list_pending, list_running
from predictd.monitoring.checks import Check, RunCheck, State, check_disk, fail, ok, warn
from predictd.monitoring.server_status import ServerStatus
from predictd.storage import Storage

MAX_QUERY_SECONDS = 0.02
# With a larger skew, leases and deadlines mean different moments for several servers.
MAX_CLOCK_SKEW_SECONDS = 2.0
MAX_TICK_DELAY_SECONDS = 60.0
MAX_QUEUE_SECONDS = 600.0
_QUERY_TRIES = 5


def find_unready(database: Database, storage: Storage) -> list[Check]:
    """Return the problems that keep a server from serving: of its database, its schema or its storage."""
    checks = [
        *_run("database", lambda: check_database(database)),
        *_run("storage", lambda: check_storage(storage)),
    ]
    return [check for check in checks if check.state is State.FAIL or (check.name == "schema" and not check.is_healthy)]


def check_health(
    database: Database, storage: Storage, home: Path, status: ServerStatus | None, now: datetime
) -> list[Check]:
    """Run all checks that are possible within a running server."""
    checks = [
        *_run("database", lambda: check_database(database)),
        *_run("storage", lambda: check_storage(storage)),
        check_disk("disk", home),
        *_run("clock", lambda: check_clock(database, status, now)),
        *_run("queue", lambda: check_queue(database, now)),
        *_run("leases", lambda: check_leases(database, status, now)),
    ]
    if status is not None:
        checks.append(ok("isolation", status.isolation) if status.is_isolated else _not_isolated(status))
        if status.nodes is not None:
            names = ", ".join(status.nodes())
            remedy = "Start some with: predictd node"
            checks.append(ok("nodes", names) if names else warn("nodes", "no node runs models", remedy))
        checks.extend(_check_tickers(status, now))
    return checks


def _run(name: str, function: RunCheck) -> list[Check]:
    """Run a check; the message of an error is not shown, because it may contain addresses."""
    try:
        return list(function())
    except Exception as error:  # noqa: BLE001 (any error is the result of the check)
        return [fail(name, f"does not respond ({type(error).__name__})", "See the log.")]


def check_database(database: Database) -> Iterator[Check]:
    """Check the response time of the database, and that its schema is the one of this version."""
    with database.engine.connect() as connection:
        seconds = sorted(_query_seconds(connection) for _ in range(_QUERY_TRIES))[_QUERY_TRIES // 2]
        version = ".".join(map(str, connection.dialect.server_version_info or ()))
        message = f"{connection.dialect.name} {version} responds in {seconds * 1000:.1f} ms"
    if seconds > MAX_QUERY_SECONDS:
        yield warn("database", message, "Each run makes some twenty queries: move the database closer.")
    else:
        yield ok("database", message)
    yield _check_schema(database.revision())


def _query_seconds(connection: sa.Connection) -> float:
    started_at = time.monotonic()
    connection.execute(sa.text("SELECT 1"))
    return time.monotonic() - started_at


def _check_schema(revision: str | None) -> Check:
    newest = newest_revision()
    if revision == newest:
        return ok("schema", f"is the one of this version ({newest})")
    if revision is not None and revision > newest:
        remedy = "Install the version of the server: an older one must not write to the database."
        return fail("schema", f"revision {revision} is newer than the one of this version ({newest})", remedy)
    remedy = "The next start upgrades it."
    return warn("schema", f"is at {revision or 'no revision'}, the one of this version is {newest}", remedy)


def check_storage(storage: Storage) -> Iterator[Check]:
    """Check that the storage responds."""
    started_at = time.monotonic()
    storage.stat("health/none")
    yield ok("storage", f"responds in {(time.monotonic() - started_at) * 1000:.1f} ms")


def check_clock(database: Database, status: ServerStatus | None, now: datetime) -> Iterator[Check]:
    """Check that the clock agrees with the database's, and was not changed since the server started."""
    remedy = "Synchronize the clocks of all machines with NTP: leases and rounds depend on them."
    skew = 0.0 if database.is_sqlite else _clock_skew(database)
    step = status.clock_step(now) if status is not None else 0.0
    if abs(skew) > MAX_CLOCK_SKEW_SECONDS:
        yield fail("clock skew", f"the database's clock differs by {skew:+.2f} s from this machine's", remedy)
    elif abs(step) > MAX_CLOCK_SKEW_SECONDS:
        yield fail("clock skew", f"the clock was changed by {step:+.2f} s since the server started", remedy)
    else:
        difference = "" if database.is_sqlite else f", {skew:+.2f} s from the database's clock"
        yield ok("clock skew", f"{now:%Y-%m-%d %H:%M:%S} UTC{difference}")


def _clock_skew(database: Database) -> float:
    with database.engine.connect() as connection:
        before = datetime.now(UTC)
        database_time: datetime = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
        own_time = before + (datetime.now(UTC) - before) / 2
    return (database_time - own_time).total_seconds()


def check_queue(database: Database, now: datetime) -> Iterator[Check]:
    """Check how long due runs have been waiting."""
    with database.read() as session:
        waiting = list_pending(session, now)
    oldest = min((group.oldest_due_at for group in waiting if group.oldest_due_at is not None), default=None)
    message = f"{sum(group.count for group in waiting)} pending, {sum(group.due for group in waiting)} due"
    seconds = 0.0 if oldest is None else (now - oldest).total_seconds()
    if seconds > MAX_QUEUE_SECONDS:
        remedy = "Check that a server runs; more workers (PREDICTD_WORKERS) or machines shorten the queue."
        yield warn("queue", f"{message}; the oldest is due since {seconds / 60:.0f} minutes", remedy)
    else:
        yield ok("queue", message)


def check_leases(database: Database, status: ServerStatus | None, now: datetime) -> Iterator[Check]:
    """Check that every run has a valid lease, and list the servers that hold leases."""
    own = status.server_id if status is not None else None
    counts: dict[str, int] = {} if own is None else {own: 0}
    expired = without_owner = 0
    with database.read() as session:
        for run in list_running(session):
            server = WorkerSlot.of(run.lease_owner).server
            counts[server] = counts.get(server, 0) + 1
            without_owner += run.lease_owner is None
            is_expired = run.lease_expires_at is not None and run.lease_expires_at < now
            expired += is_expired and server != own
    servers = ", ".join(
        f"{name}{' (this server)' if name == own else ''} runs {count}" for name, count in sorted(counts.items())
    )
    if expired or without_owner:
        remedy = "A running server requeues these runs within PREDICTD_LEASE_SECONDS; if it does not, see its log."
        yield fail("leases", f"{expired} runs have an expired lease, {without_owner} have none; {servers}", remedy)
    else:
        yield ok("leases", servers or "no runs")


def _not_isolated(status: ServerStatus) -> Check:
    return fail("isolation", status.isolation, "Run `predictd doctor` for what this machine lacks.")


def _check_tickers(status: ServerStatus, now: datetime) -> Iterator[Check]:
    for ticker in status.tickers:
        name = f"ticker {ticker.name}"
        if ticker.failed_at is not None:
            yield fail(name, f"failed at {ticker.failed_at:%H:%M:%S} UTC and will be retried", "See the log.")
            continue
        seconds = max((now - (ticker.ended_at or status.started_at)).total_seconds(), 0)
        message = f"last ran {seconds:.0f} s ago" if ticker.ended_at is not None else "has not run yet"
        if status.delay(ticker, now) < MAX_TICK_DELAY_SECONDS:
            yield ok(name, message)
        else:
            yield warn(name, f"{message}, which is late", "It takes long or hangs; see the log.")
