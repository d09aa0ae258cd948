"""What a running server knows of itself and no database does."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from predictd.rounds.scheduler import Ticker
from predictd.sandbox import ForkPool


@dataclass(frozen=True, kw_only=True)
class Vitals:
    """A running server.

    Attributes:
        server_id: its name in leases, which outlives restarts.
        workers: models that it runs at once.
        isolation: what isolates its runs, in words.
        is_isolated: whether something does.
        tickers: its threads that look at the clock.
        nodes: the machines of a cluster that run its models; None where it runs them itself.
        parents: what its runs are forked from, if they are.
        started_at: when it started, by the clock on the wall.
        started: the same moment by a clock that nobody sets, in seconds.
    """

    server_id: str
    workers: int
    isolation: str
    is_isolated: bool
    tickers: Sequence[Ticker] = ()
    parents: ForkPool | None = None
    nodes: Callable[[], Sequence[str]] | None = None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: float = field(default_factory=time.monotonic)

    def lateness(self, ticker: Ticker, now: datetime) -> float:
        """Seconds that a ticker should have ended another call ago; 0 or less where all is well."""
        return (now - (ticker.ended_at or self.started_at)).total_seconds() - ticker.seconds

    def clock_step(self, now: datetime) -> float:
        """Seconds that the clock on the wall was set forward since the start; backward is negative."""
        return (now - self.started_at).total_seconds() - (time.monotonic() - self.started)
