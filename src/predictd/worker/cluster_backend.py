"""A run on a node of the cluster: an order with URLs that are good for it alone, and the answer that comes back."""

import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from predictd.cluster.job_result import max_result_bytes, read_result
from predictd.cluster.job_spec import JobSpec, ObjectRef
from predictd.cluster.scheduler import ClusterScheduler, SubmittedJob
from predictd.db import Database
from predictd.db.retry import outlast
from predictd.domain.errors import CancelledError, PlatformError
from predictd.domain.limits import Limits
from predictd.domain.reasons import Reason
from predictd.domain.runs import RunReport
from predictd.jobs.queue import Claim, update_reason
from predictd.sandbox.protocol import ResultLimits
from predictd.storage import Storage
from predictd.worker import node_runs
from predictd.worker.config import Job
from predictd.worker.execution import PickleRun, lock_key, seed_of
from predictd.worker.hashes import hashed
from predictd.worker.run_cache import NO_TREES, tables_hash

log = structlog.get_logger()

_LOOK_SECONDS = 0.2
_BEATS_SECONDS = 1.0
_PATIENCE_SECONDS = 2.0
# A node may have to build the runtime first.
_PREPARATION_SECONDS = 3600.0


class RemoteRuns:
    """Executes claimed runs on the nodes of a cluster; the database alone retries.

    Args:
        storage: with URLs that nodes can reach.
        node_url: address of the servers as nodes reach them.
        find_lock: the text of the lock of the runtime in a folder.
        url_seconds: how long URLs are good for; what waits for a place so long is ordered anew.
        lease_seconds: a node that says nothing for so long has lost its run.
    """

    def __init__(
        self,
        placer: ClusterScheduler,
        database: Database,
        storage: Storage,
        *,
        node_url: str,
        find_lock: Callable[[str], str],
        url_seconds: float,
        lease_seconds: float,
    ) -> None:
        self._placer = placer
        self._database = database
        self._storage = storage
        self._node_url = node_url.rstrip("/")
        self._find_lock = find_lock
        self._url_seconds = url_seconds
        self._lease_seconds = lease_seconds
        self._mine: set[tuple[str, int]] = set()
        self._beats = _Beats(database)
        with database.write() as session:
            node_runs.forget_ended(session)

    def run(
        self, job: Job, wanted: PickleRun, limits: Limits, *, rows: int, has_benchmarks: bool
    ) -> tuple[RunReport, bool]:
        """Have a node run it on data of `rows` rows; answers the report, and whether the run was asked for tables.

        Raises:
            JobRequeuedError: the node is being stopped.
            PlatformError: the run could not be made, or was lost.
            CancelledError: the job was cancelled.
        """
        key = answer_key(job.claimed.trigger_id, job.claimed.attempt)
        claim = (job.claimed.trigger_id, job.claimed.attempt)
        self._mine.add(claim)
        answer = ResultLimits(expected=rows, output_bytes=limits.output_bytes)
        try:
            while True:
                order = self._order(job, wanted, limits, key, max_result_bytes(answer), has_benchmarks=has_benchmarks)
                if self._carried_out(job, order):
                    report = outlast(lambda: self._answer(key, answer), cancel=job.cancel)
                    return report, order.keep_tables
                log.info("ordered_anew", trigger=job.claimed.trigger_id, attempt=job.claimed.attempt)
        finally:
            self._mine.discard(claim)
            with suppress(SQLAlchemyError), job.database.write() as session:
                node_runs.end(session, job.claimed)
            self._beats.forget(claim)
            self._delete_answers(job.claimed)

    def _delete_answers(self, claimed: Claim) -> None:
        # The one before too: a node that was taken for lost may have answered after all. What stays is swept, and must
        # not take with it what the run has brought.
        with suppress(PlatformError, OSError):
            for attempt in range(max(1, claimed.attempt - 1), claimed.attempt + 1):
                self._storage.delete(answer_key(claimed.trigger_id, attempt))

    def room(self, limits: Limits) -> int:
        """Runs of these limits that this server may have on the cluster, beside those of other servers."""
        places = self._placer.capacity(limits)
        return max(0, places - len(self._beats.runs() - self._mine)) if places else 0

    def has_one_place(self, limits: Limits) -> bool:
        """Whether the whole cluster can make only one such run at a time."""
        return self._placer.capacity(limits) == 1

    def _carried_out(self, job: Job, order: JobSpec) -> bool:
        """Whether it was; False when it had to wait for a place until its URLs were no good any more."""
        with job.database.write() as session:
            node_runs.begin(session, job.claimed, order.report_token, datetime.now(UTC))
        placed = self._placer.submit(order.model_dump_json(), order.limits)
        try:
            return self._followed(job, placed, order.limits)
        finally:
            self._placer.cancel(placed)

    def _followed(self, job: Job, placed: SubmittedJob, limits: Limits) -> bool:
        claim = (job.claimed.trigger_id, job.claimed.attempt)
        began = seen_at = time.monotonic()
        seen, node, shows_waiting = 0, "", False
        while not placed.wait(_LOOK_SECONDS):
            now = time.monotonic()
            if job.cancel.is_set():
                raise CancelledError
            beats = self._beats.of(claim)
            if beats is None:
                # The database is away, which says nothing of the node.
                seen_at = now
                continue
            count, node = beats
            if count != seen:
                if not seen:
                    began = now
                    if shows_waiting:
                        _update_reason(job, "running")
                seen, seen_at = count, now
            elif seen and now - seen_at > self._lease_seconds:
                raise PlatformError(f"The node {node} that ran the model says nothing any more.")
            elif seen and now - began > limits.seconds + _PREPARATION_SECONDS:
                raise PlatformError(f"The node {node} did not end the run long after its time was up.")
            elif not seen and now - began > self._url_seconds / 2:
                return False
            elif not seen and not shows_waiting and now - began > _PATIENCE_SECONDS:
                shows_waiting = True
                _update_reason(job, "waiting_for_node")
        return True

    def _order(
        self, job: Job, wanted: PickleRun, limits: Limits, key: str, max_bytes: int, *, has_benchmarks: bool
    ) -> JobSpec:
        claimed, config = job.claimed, job.config
        until = datetime.now(UTC) + timedelta(seconds=self._url_seconds)
        long_until = until + timedelta(seconds=limits.seconds + _PREPARATION_SECONDS)
        tables = self._tables(wanted.tables_key, until) if config.trees else None
        return JobSpec(
            trigger_id=claimed.trigger_id,
            attempt=claimed.attempt,
            limits=limits,
            runtime=wanted.runtime_folder,
            lock=self._lock(wanted.runtime_folder, until),
            pickle=self._item(wanted.pickle_key, until),
            features=self._item(wanted.features_key, until),
            benchmarks=self._item(wanted.benchmarks_key, until) if has_benchmarks else None,
            tables=tables,
            without_targets=wanted.is_validation,
            imports=None if wanted.tables_key is None else wanted.imports,
            proven=wanted.tables_key is not None,
            trees=config.trees,
            keep_tables=config.trees and tables is None and wanted.tables_key != NO_TREES,
            seed=seed_of(claimed),
            result_url=self._storage.presign("PUT", key, expires_at=long_until, max_bytes=max_bytes),
            max_result_bytes=max_bytes,
            report_url=f"{self._node_url}/nodes/runs/{claimed.trigger_id}/{claimed.attempt}",
            report_token=secrets.token_urlsafe(32),
            heartbeat_seconds=max(0.5, self._lease_seconds / 6),
            lease_seconds=self._lease_seconds,
        )

    def _item(self, key: str, until: datetime) -> ObjectRef:
        """An object, whose content never changes under its key."""
        found = hashed(self._database, self._storage, key)[key]
        url = self._storage.presign("GET", key, expires_at=until)
        return ObjectRef(url=url, sha256=found.sha256, size=found.size_bytes)

    def _tables(self, key: str | None, until: datetime) -> ObjectRef | None:
        """The tables of that key; None, so that the run makes them anew, where they are missing."""
        sha256 = tables_hash(key)
        size = self._storage.stat(key) if key and sha256 else None
        if not key or not sha256 or size is None:
            return None
        return ObjectRef(url=self._storage.presign("GET", key, expires_at=until), sha256=sha256, size=size)

    def _lock(self, folder: str, until: datetime) -> ObjectRef:
        key = lock_key(folder)
        if self._storage.stat(key) is None:
            with tempfile.TemporaryDirectory(prefix="predictd-") as name:
                path = Path(name) / "lock.txt"
                path.write_text(self._find_lock(folder), encoding="utf-8")
                self._storage.put_file(key, path)
        return self._item(key, until)

    def _answer(self, key: str, limits: ResultLimits) -> RunReport:
        size = self._storage.stat(key)
        if size is None:
            raise PlatformError("The node said that the run has ended, but brought no answer.")
        if size > max_result_bytes(limits):
            raise PlatformError(f"The node's answer has {size} bytes, which is more than any has.")
        with self._storage.local_path(key) as path, path.open("rb") as file:
            return read_result(file, limits)


class _Beats:
    """The signs of life of all runs, read at once for whoever waits."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._read_at = 0.0
        self._is_read = False
        self._found: dict[tuple[str, int], tuple[int, str]] = {}

    def of(self, claim: tuple[str, int]) -> tuple[int, str] | None:
        """How many the run has had, and from which node; None when the database does not answer."""
        with self._lock:
            self._look()
            return self._found.get(claim, (0, "")) if self._is_read else None

    def runs(self) -> set[tuple[str, int]]:
        """The runs of all servers that are on the cluster, as last known."""
        with self._lock:
            self._look()
            return set(self._found)

    def forget(self, claim: tuple[str, int]) -> None:
        """It has ended: it takes no place until the next look."""
        with self._lock:
            self._found.pop(claim, None)

    def _look(self) -> None:
        if time.monotonic() - self._read_at <= _BEATS_SECONDS:
            return
        try:
            with self._database.read() as session:
                self._found = node_runs.beats(session)
            self._is_read = True
        except SQLAlchemyError:
            self._is_read = False
        self._read_at = time.monotonic()


def answer_key(trigger_id: str, attempt: int) -> str:
    """Where a node puts its answer; what is left there is swept with the uploads that nobody registered."""
    return f"incoming/answers/{trigger_id}-{attempt}"


def _update_reason(job: Job, code: str) -> None:
    reason = Reason(code=code, facts={"attempt": job.claimed.attempt})
    with suppress(SQLAlchemyError), job.database.write() as session:
        update_reason(session, job.claimed, reason)
