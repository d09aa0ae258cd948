"""What every run of a server shares, and what one of them has."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from predictd.data.mapped_cache import MappedCache
from predictd.db import Database
from predictd.domain.limits import Limits
from predictd.domain.quotas import NO_LIMITS, Quotas
from predictd.domain.runs import RunReport, RuntimePaths, SandboxKind
from predictd.jobs.queue import Claim
from predictd.sandbox import ForkPool
from predictd.storage import Storage
from predictd.uploads.fallback import IsUsable, usable_with
from predictd.worker.run_logs import LogWriter
from predictd.worker.runtime_backoff import MissingRuntimes

if TYPE_CHECKING:
    from predictd.worker.execution import PickleRun


class RunPlace(Protocol):
    """Where claimed runs are executed, if not on this machine."""

    def run(
        self, job: "Job", wanted: "PickleRun", limits: Limits, *, rows: int, has_benchmarks: bool
    ) -> tuple[RunReport, bool]:
        """Run it on data of `rows` rows and answer the report, and whether it was asked for tables.

        Raises as `predictd.sandbox.run` does.
        """


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """What every run of this server shares.

    Attributes:
        limits: of a run for a round or a validation.
        diagnostics_limits: of a run on the validation data.
        kind: what isolates runs.
        max_attempts: how often a run is tried when the platform fails.
        retry_seconds: wait before the first retry; doubles with each.
        parents: what runs are forked from, if they are.
        trees: whether compiled tables answer for the tree libraries.
        mapped: where data files are kept in the form that runs map.
        factors: folder of what neutralising to the features takes, kept per data version.
        find_runtime: where the runtime in a folder lies on this machine, built if it must be; raises
            RuntimeMissingError.
        has_runtime: whether it is built on this machine, or could be.
        missing: the runtimes that this machine lacks.
        quotas: what accounts may store, and what must stay free on the disk.
        account_runs: runs of one account at once, 0 for any number.
        place: where else runs are executed; None means on this machine.
    """

    limits: Limits
    diagnostics_limits: Limits
    kind: SandboxKind
    max_attempts: int
    retry_seconds: float
    parents: ForkPool | None
    trees: bool
    mapped: MappedCache
    factors: Path
    find_runtime: Callable[[str], RuntimePaths]
    has_runtime: Callable[[str], bool]
    missing: MissingRuntimes = field(default_factory=MissingRuntimes)
    quotas: Quotas = NO_LIMITS
    account_runs: int = 0
    place: "RunPlace | None" = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """One claimed trigger in the hands of a worker.

    Attributes:
        claimed: the trigger, under the attempt that this worker claimed.
        slot: number of the worker; runs of different slots never share a user id.
        writer: takes what the model prints.
        cancel: set when the trigger is not this worker's any more.
    """

    database: Database
    storage: Storage
    config: WorkerConfig
    claimed: Claim
    slot: int
    writer: LogWriter
    cancel: threading.Event

    @property
    def is_usable(self) -> IsUsable:
        """Tells the pickles that can be run here."""
        return usable_with(self.storage, self.config.has_runtime)
