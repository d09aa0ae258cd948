"""Figures of the whole platform, read from the database when somebody asks, and of this machine.

A few queries over indexes, kept for some seconds: however many ask, the database is asked seldom. Of several servers
each tells the same of the database; take one of them, or the largest.
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
from predictd.db.notice_tables import Delivery
from predictd.db.queue_stats import count_of_round, count_running, list_waiting
from predictd.db.rounds import current_round, latest_round
from predictd.domain.names import CLASSIC
from predictd.domain.notices import Channel, DeliveryState
from predictd.domain.states import TriggerType
from predictd.monitoring.server_status import Vitals
from predictd.rounds.calendar import scoring_times

log = structlog.get_logger()

KEPT_SECONDS = 5.0
# As many rounds wait for their scores at once as resolve within some months.
_MOST_ROUNDS = 100


class Gauges(Collector):
    """What prometheus-client asks for these figures; safe to call from several threads."""

    def __init__(self, database: Database, home: Path, vitals: Vitals | None) -> None:
        self._database = database
        self._home = home
        self._vitals = vitals
        self._lock = threading.Lock()
        self._read: list[Metric] = []
        self._read_at = -KEPT_SECONDS

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand, so that registering asks no database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All of them; those of the database are missing while it does not answer, and predictd_up is 0."""
        yield from self._of_server()
        with self._lock:
            if time.monotonic() - self._read_at >= KEPT_SECONDS:
                self._read = self._of_database()
                self._read_at = time.monotonic()
            read = self._read
        yield from read

    def _of_server(self) -> Iterator[Metric]:
        usage = shutil.disk_usage(self._home)
        yield _gauge("predictd_disk_free_bytes", "Bytes free in the data dir.", usage.free)
        yield _gauge("predictd_disk_total_bytes", "Bytes of the disk of the data dir.", usage.total)
        pool = self._database.engine.pool
        for name, told, read in (
            ("predictd_database_connections_used", "Connections to the database in use.", "checkedout"),
            ("predictd_database_connections_kept", "Connections to the database kept open for use.", "checkedin"),
        ):
            count: Callable[[], int] | None = getattr(pool, read, None)
            yield _gauge(name, told, count() if count is not None else 0)
        if self._vitals is None:
            return
        about = GaugeMetricFamily("predictd_server", "1, with the server's name and version.", labels=["id", "version"])
        about.add_metric([self._vitals.server_id, __version__], 1)
        yield about
        yield _gauge("predictd_workers", "Models that this server runs at once.", self._vitals.workers)
        nodes = len(self._vitals.nodes()) if self._vitals.nodes is not None else 1
        yield _gauge("predictd_machines", "Machines that run this server's models: itself, or nodes.", nodes)
        late = GaugeMetricFamily(
            "predictd_ticker_late_seconds", "Time since a ticker should have looked again.", labels=["ticker"]
        )
        now = datetime.now(UTC)
        for ticker in self._vitals.tickers:
            late.add_metric([ticker.name], max(0.0, self._vitals.lateness(ticker, now)))
        yield late
        if self._vitals.parents is not None:
            runs = CounterMetricFamily(
                "predictd_run_starts", "Runs forked from a warm parent, or started cold.", labels=["how"]
            )
            runs.add_metric(["warm"], self._vitals.parents.forked_count)
            runs.add_metric(["cold"], self._vitals.parents.refused_count)
            yield runs

    def _of_database(self) -> list[Metric]:
        try:
            now = datetime.now(UTC)
            with self._database.read() as session:
                own = self._vitals.server_id if self._vitals is not None else None
                found = [*_queue(session, now, own), *_rounds(session, now), *_messages(session, now)]
            return [_gauge("predictd_up", "1 as long as the database answers.", 1), *found]
        except sa.exc.SQLAlchemyError as error:
            log.error("gauges_failed", error=type(error).__name__)
            return [_gauge("predictd_up", "1 as long as the database answers.", 0)]


def _queue(session: Session, now: datetime, own: str | None) -> Iterator[Metric]:
    depth = GaugeMetricFamily("predictd_queue_pending", "Runs that wait, by type.", labels=["type"])
    due = GaugeMetricFamily("predictd_queue_due", "Runs that wait and could run now, by type.", labels=["type"])
    age = GaugeMetricFamily(
        "predictd_queue_oldest_seconds", "Time since the oldest of these was due, by type.", labels=["type"]
    )
    for one in list_waiting(session, now):
        depth.add_metric([one.type], one.count)
        due.add_metric([one.type], one.due)
        waited = (now - one.oldest_due_at).total_seconds() if one.oldest_due_at is not None else 0.0
        age.add_metric([one.type], waited)
    running = GaugeMetricFamily("predictd_running", "Runs on their way, by server and type.", labels=["server", "type"])
    idle = {(own, str(kind)): 0 for kind in TriggerType} if own is not None else {}
    for (server, kind), count in (idle | count_running(session)).items():
        running.add_metric([server, kind], count)
    yield from (depth, due, age, running)


def _rounds(session: Session, now: datetime) -> Iterator[Metric]:
    newest = latest_round(session, CLASSIC, now)
    yield _gauge("predictd_rounds_open", "Rounds open now.", int(current_round(session, CLASSIC, now) is not None))
    number = newest.number if newest is not None else 0
    opened = newest.open_time.timestamp() if newest is not None else 0
    closes = newest.close_time.timestamp() if newest is not None else 0
    yield _gauge("predictd_round_number", "Number of the newest round, 0 for none.", number)
    yield _gauge("predictd_round_open_timestamp_seconds", "When the newest round opened, in Unix time.", opened)
    yield _gauge("predictd_round_close_timestamp_seconds", "When it closed or closes, in Unix time.", closes)
    runs = GaugeMetricFamily("predictd_round_runs", "Runs of the newest round, by state.", labels=["state"])
    if newest is not None:
        for state, count in count_of_round(session, [newest.id])[newest.id].items():
            runs.add_metric([state], count)
    yield runs
    lag = 0.0
    for round_ in session.scalars(
        sa.select(Round)
        .where(Round.tournament == CLASSIC, Round.is_closed, Round.resolved_at.is_(None), Round.score_time <= now)
        .order_by(Round.number)
        .limit(_MOST_ROUNDS)
    ):
        times = scoring_times(round_.score_time, round_.resolve_time)
        if round_.score_days < len(times) and times[round_.score_days] <= now:
            lag = max(lag, (now - times[round_.score_days]).total_seconds())
    yield _gauge("predictd_scoring_lag_seconds", "Time since the oldest scores that are missing were due.", lag)


def _messages(session: Session, now: datetime) -> Iterator[Metric]:
    waiting = GaugeMetricFamily("predictd_messages_pending", "E-mails and webhooks that wait.", labels=["channel"])
    age = GaugeMetricFamily(
        "predictd_messages_oldest_seconds", "Time since the oldest of these was made.", labels=["channel"]
    )
    rows = session.execute(
        sa.select(Delivery.channel, sa.func.count(), sa.func.min(Delivery.inserted_at))
        .where(Delivery.state == DeliveryState.PENDING)
        .group_by(Delivery.channel)
    )
    found = {row[0]: (row[1], (now - row[2]).total_seconds()) for row in rows}
    for channel in Channel:
        count, seconds = found.get(channel, (0, 0.0))
        waiting.add_metric([channel], count)
        age.add_metric([channel], seconds)
    yield from (waiting, age)


def _gauge(name: str, told: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, told, value=value)
