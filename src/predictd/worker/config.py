"""The configuration of a worker pool, and the context of one job."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from predictd.data.mapped_cache import MappedCache
from predictd.db import Database
from predictd.domain.limits import Limits
from predictd.domain.quotas import NO_LIMITS, Quotas
from predictd.domain.runs import RunReport, RuntimePaths, SandboxKind
from predictd.jobs.queue import Claim
from predictd.sandbox import ForkPool
from predictd.storage import Storage
from predictd.uploads.fallback import IsUsable, usability_check
from predictd.worker.pickle_run import PickleRun
from predictd.worker.run_logs import LogWriter

RETRY_AFTER_SECONDS = 300.0


class RuntimeBackoff:
    """Folders of runtimes that recently could not be built here. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}

    def add(self, folder: str) -> None:
        """Skip runs in this runtime for a while."""
        with self._lock:
            self._until[folder] = self._clock() + RETRY_AFTER_SECONDS

    def folders(self) -> tuple[str, ...]:
        """Return the runtimes to skip now; each is retried after some minutes."""
        with self._lock:
            now = self._clock()
            self._until = {folder: until for folder, until in self._until.items() if until > now}
            return tuple(self._until)


class RunBackend(Protocol):
    """An executor of claimed runs outside this machine."""

    def run(
        self, job: "Job", pickle_run: PickleRun, limits: Limits, *, rows: int, has_benchmarks: bool
    ) -> tuple[RunReport, bool]:
        """Run the pickle on data of `rows` rows; return the report and whether tables were requested.

        Raises as `predictd.sandbox.run` does.
        """


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """The configuration that all runs of this server share.

    Attributes:
        limits: of a round or validation run.
        diagnostics_limits: of a diagnostics run.
        kind: sandbox of the runs.
        max_attempts: attempts of a run when the platform fails.
        retry_seconds: delay before the first retry; doubles with each.
        parents: warm processes to fork runs from, if any.
        trees: whether compiled trees replace the tree libraries.
        mapped: cache of memory-mapped data files.
        factors: folder of cached feature neutralization factors.
        find_runtime: returns the paths of the runtime in a folder, building it if needed; raises
            RuntimeMissingError.
        has_runtime: whether a runtime is built on this machine or can be.
        missing: runtimes that this machine can't build.
        quotas: storage limits of accounts and reserved disk space.
        account_runs: maximum number of active runs of an account, 0 for no limit.
        backend: where runs are executed; None means on this machine.
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
    missing: RuntimeBackoff = field(default_factory=RuntimeBackoff)
    quotas: Quotas = NO_LIMITS
    account_runs: int = 0
    backend: "RunBackend | None" = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """One claimed attempt and what its worker needs.

    Attributes:
        claimed: the claim of this worker.
        slot: number of the worker; runs of different slots never share a user id.
        writer: stores the output of the model.
        cancel: set when the claim is lost.
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
        """Return a check of whether a pickle can run here."""
        return usability_check(self.storage, self.config.has_runtime)
