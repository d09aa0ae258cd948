"""The status of a running server that is not in the database."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from predictd.rounds.periodic_task import PeriodicTask
from predictd.sandbox import ForkPool


@dataclass(frozen=True, kw_only=True)
class ServerStatus:
    """A running server.

    Attributes:
        server_id: its name in leases, which survives restarts.
        workers: number of models that it runs at once.
        isolation: description of the isolation of its runs.
        is_isolated: whether its runs are isolated.
        tickers: its periodic threads.
        nodes: returns the nodes of the cluster that run its models; None if it runs them itself.
        fork_pool: forks its runs, if any.
        started_at: start by the system clock.
        started: start by the monotonic clock, in seconds.
    """

    server_id: str
    workers: int
    isolation: str
    is_isolated: bool
    tickers: Sequence[PeriodicTask] = ()
    fork_pool: ForkPool | None = None
    nodes: Callable[[], Sequence[str]] | None = None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: float = field(default_factory=time.monotonic)

    def delay(self, ticker: PeriodicTask, now: datetime) -> float:
        """Return the seconds by which the next call of a ticker is late; at most 0 if it is on time."""
        return (now - (ticker.ended_at or self.started_at)).total_seconds() - ticker.seconds

    def clock_step(self, now: datetime) -> float:
        """Return the seconds by which the system clock was moved forward since the start."""
        return (now - self.started_at).total_seconds() - (time.monotonic() - self.started)
