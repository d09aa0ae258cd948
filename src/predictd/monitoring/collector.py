"""Prometheus metrics of the whole platform, read from the database on request, and of this machine.

The results of a few indexed queries are cached for some seconds, so frequent requests don't load the database. Several
servers report the same values of the database; use group of them, or the maximum.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from predictd import __version__
from predictd.db import Database
from predictd.db.models import Round
from predictd.db.notification_tables import Delivery
from predictd.db.queue_stats import count_running, count_runs_by_state, list_pending
from predictd.db.rounds import current_round, latest_round
from predictd.domain.names import CLASSIC
from predictd.domain.notification_types import Channel, DeliveryState
from predictd.domain.states import RunType
from predictd.monitoring.server_status import ServerStatus
from predictd.rounds.calendar import scoring_times

log = structlog.get_logger()

CACHE_SECONDS = 5.0
# More rounds than resolve within some months, which is how many wait for scores at once.
_MAX_ROUNDS = 100


class MetricsCollector(Collector):
    """A collector for prometheus-client; thread-safe."""

    def __init__(self, database: Database, home: Path, status: ServerStatus | None) -> None:
        self._database = database
        self._home = home
        self._status = status
        self._lock = threading.Lock()
        self._read: list[Metric] = []
        self._read_at = -CACHE_SECONDS

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that registering does not query the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics; without the database its metrics are missing and predictd_up is 0."""
        yield from self._of_server()
        with self._lock:
            if time.monotonic() - self._read_at >= CACHE_SECONDS:
                self._read = self._of_database()
                self._read_at = time.monotonic()
            read = self._read
        yield from read

    def _of_server(self) -> Iterator[Metric]:
        usage = shutil.disk_usage(self._home)
        yield _gauge("predictd_disk_free_bytes", "Bytes free in the data dir.", usage.free)
        yield _gauge("predictd_disk_total_bytes", "Bytes of the disk of the data dir.", usage.total)
        pool = self._database.engine.pool
        for name, description, read in (
            ("predictd_database_connections_used", "Connections to the database in use.", "checkedout"),
            ("predictd_database_connections_kept", "Idle connections to the database.", "checkedin"),
        ):
            count: Callable[[], int] | None = getattr(pool, read, None)
            yield _gauge(name, description, count() if count is not None else 0)
        if self._status is None:
            return
        about = GaugeMetricFamily("predictd_server", "1, with the server's name and version.", labels=["id", "version"])
        about.add_metric([self._status.server_id, __version__], 1)
        yield about
        yield _gauge("predictd_workers", "Number of models that this server runs at once.", self._status.workers)
        nodes = len(self._status.nodes()) if self._status.nodes is not None else 1
        yield _gauge("predictd_machines", "Machines that run models of this server: itself, or nodes.", nodes)
        late = GaugeMetricFamily(
            "predictd_ticker_late_seconds", "Seconds by which the next call of a ticker is late.", labels=["ticker"]
        )
        now = datetime.now(UTC)
        for ticker in self._status.tickers:
            late.add_metric([ticker.name], max(0.0, self._status.delay(ticker, now)))
        yield late
        if self._status.fork_pool is not None:
            runs = CounterMetricFamily(
                "predictd_run_starts", "Runs forked from a fork server (warm), or started cold.", labels=["how"]
            )
            runs.add_metric(["warm"], self._status.fork_pool.forked_count)
            runs.add_metric(["cold"], self._status.fork_pool.refused_count)
            yield runs

    def _of_database(self) -> list[Metric]:
        try:
            now = datetime.now(UTC)
            with self._database.read() as session:
                own = self._status.server_id if self._status is not None else None
                metrics = [*_queue(session, now, own), *_rounds(session, now), *_deliveries(session, now)]
            return [_gauge("predictd_up", "1 while the database responds.", 1), *metrics]
        except sa.exc.SQLAlchemyError as error:
            log.error("metrics_failed", error=type(error).__name__)
            return [_gauge("predictd_up", "1 while the database responds.", 0)]


def _queue(session: Session, now: datetime, own: str | None) -> Iterator[Metric]:
    depth = GaugeMetricFamily("predictd_queue_pending", "Pending runs, by type.", labels=["type"])
    due = GaugeMetricFamily("predictd_queue_due", "Due pending runs, by type.", labels=["type"])
    age = GaugeMetricFamily(
        "predictd_queue_oldest_seconds", "Seconds since the oldest of these became due, by type.", labels=["type"]
    )
    for group in list_pending(session, now):
        depth.add_metric([group.type], group.count)
        due.add_metric([group.type], group.due)
        waited = (now - group.oldest_due_at).total_seconds() if group.oldest_due_at is not None else 0.0
        age.add_metric([group.type], waited)
    running = GaugeMetricFamily("predictd_running", "Running runs, by server and type.", labels=["server", "type"])
    idle = {(own, str(kind)): 0 for kind in RunType} if own is not None else {}
    for (server, kind), count in (idle | count_running(session)).items():
        running.add_metric([server, kind], count)
    yield from (depth, due, age, running)


def _rounds(session: Session, now: datetime) -> Iterator[Metric]:
    newest = latest_round(session, CLASSIC, now)
    yield _gauge(
        "predictd_rounds_open", "Number of open rounds.", int(current_round(session, CLASSIC, now) is not None)
    )
    number = newest.number if newest is not None else 0
    opened = newest.open_time.timestamp() if newest is not None else 0
    closes = newest.close_time.timestamp() if newest is not None else 0
    yield _gauge("predictd_round_number", "Number of the newest round, 0 if there is none.", number)
    yield _gauge("predictd_round_open_timestamp_seconds", "When the newest round opened, in Unix time.", opened)
    yield _gauge("predictd_round_close_timestamp_seconds", "When it closed or closes, in Unix time.", closes)
    runs = GaugeMetricFamily("predictd_round_runs", "Runs of the newest round, by state.", labels=["state"])
    if newest is not None:
        for state, count in count_runs_by_state(session, [newest.id])[newest.id].items():
            runs.add_metric([state], count)
    yield runs
    lag = 0.0
    for round_ in session.scalars(
        sa.select(Round)
        .where(Round.tournament == CLASSIC, Round.is_closed, Round.resolved_at.is_(None), Round.score_time <= now)
        .order_by(Round.number)
        .limit(_MAX_ROUNDS)
    ):
        times = scoring_times(round_.score_time, round_.resolve_time)
        if round_.score_days < len(times) and times[round_.score_days] <= now:
            lag = max(lag, (now - times[round_.score_days]).total_seconds())
    yield _gauge("predictd_scoring_lag_seconds", "Seconds since the oldest missing scores became due.", lag)


def _deliveries(session: Session, now: datetime) -> Iterator[Metric]:
    waiting = GaugeMetricFamily("predictd_messages_pending", "Pending e-mails and webhooks.", labels=["channel"])
    age = GaugeMetricFamily(
        "predictd_messages_oldest_seconds", "Seconds since the oldest of these was created.", labels=["channel"]
    )
    rows = session.execute(
        sa.select(Delivery.channel, sa.func.count(), sa.func.min(Delivery.inserted_at))
        .where(Delivery.state == DeliveryState.PENDING)
        .group_by(Delivery.channel)
    )
    by_channel = {row[0]: (row[1], (now - row[2]).total_seconds()) for row in rows}
    for channel in Channel:
        count, seconds = by_channel.get(channel, (0, 0.0))
        waiting.add_metric([channel], count)
        age.add_metric([channel], seconds)
    yield from (waiting, age)


def _gauge(name: str, description: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, description, value=value)
