"""Runs on nodes of the cluster: a job specification with URLs for this run alone, and its result."""

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
from predictd.db.retry import retry_until_available
from predictd.domain.errors import CancelledError, PlatformError
from predictd.domain.limits import Limits
from predictd.domain.reasons import Reason
from predictd.domain.runs import RunReport
from predictd.jobs.queue import Claim, update_reason
from predictd.sandbox.protocol import ResultLimits
from predictd.storage import Storage
from predictd.worker import node_runs
from predictd.worker.config import Job
from predictd.worker.execution import lock_key, seed_of
from predictd.worker.hashes import object_hashes
from predictd.worker.pickle_run import PickleRun
from predictd.worker.run_cache import NO_TREES, tables_hash

log = structlog.get_logger()

_POLL_SECONDS = 0.2
_HEARTBEAT_SECONDS = 1.0
_WAITING_NOTICE_SECONDS = 2.0
# A node may have to build the runtime first.
_PREPARATION_SECONDS = 3600.0


class ClusterBackend:
    """Executes claimed runs on the nodes of a cluster, without retries.

    Args:
        storage: with URLs that nodes can reach.
        node_url: address of the servers as nodes reach them.
        find_lock: returns the lock file of the runtime in a folder.
        url_seconds: validity of URLs; a job that waits longer for a node gets new ones.
        lease_seconds: a node without heartbeats for this long has lost its run.
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
        self._own_claims: set[tuple[str, int]] = set()
        self._heartbeats = _Heartbeats(database)
        with database.write() as session:
            node_runs.delete_ended(session)

    def run(
        self, job: Job, pickle_run: PickleRun, limits: Limits, *, rows: int, has_benchmarks: bool
    ) -> tuple[RunReport, bool]:
        """Run the pickle on a node, on data of `rows` rows; return the report and whether tables were requested.

        Raises:
            JobRequeuedError: the node is being stopped.
            PlatformError: the run could not be started, or was lost.
            CancelledError: the job was cancelled.
        """
        key = result_key(job.claimed.run_id, job.claimed.attempt)
        claim = (job.claimed.run_id, job.claimed.attempt)
        self._own_claims.add(claim)
        answer = ResultLimits(expected=rows, output_bytes=limits.output_bytes)
        try:
            while True:
                order = self._order(
                    job, pickle_run, limits, key, max_result_bytes(answer), has_benchmarks=has_benchmarks
                )
                if self._execute(job, order):
                    report = retry_until_available(lambda: self._answer(key, answer), cancel=job.cancel)
                    return report, order.keep_tables
                log.info("job_respecified", run=job.claimed.run_id, attempt=job.claimed.attempt)
        finally:
            self._own_claims.discard(claim)
            with suppress(SQLAlchemyError), job.database.write() as session:
                node_runs.end(session, job.claimed)
            self._heartbeats.forget(claim)
            self._delete_answers(job.claimed)

    def _delete_answers(self, claimed: Claim) -> None:
        # The previous attempt too: a node that was considered lost may have sent a result. Garbage
        # collection deletes what remains.
        with suppress(PlatformError, OSError):
            for attempt in range(max(1, claimed.attempt - 1), claimed.attempt + 1):
                self._storage.delete(result_key(claimed.run_id, attempt))

    def room(self, limits: Limits) -> int:
        """Return how many runs with these limits this server may have on the cluster beside those of other servers."""
        capacity = self._placer.capacity(limits)
        return max(0, capacity - len(self._heartbeats.runs() - self._own_claims)) if capacity else 0

    def is_single_slot(self, limits: Limits) -> bool:
        """Return whether the whole cluster has room for only one such run."""
        return self._placer.capacity(limits) == 1

    def _execute(self, job: Job, order: JobSpec) -> bool:
        """Place the job and wait for its end; return False if its URLs expired before a node started it."""
        with job.database.write() as session:
            node_runs.begin(session, job.claimed, order.report_token, datetime.now(UTC))
        placed = self._placer.submit(order.model_dump_json(), order.limits)
        try:
            return self._wait_for_end(job, placed, order.limits)
        finally:
            self._placer.cancel(placed)

    def _wait_for_end(self, job: Job, placed: SubmittedJob, limits: Limits) -> bool:
        claim = (job.claimed.run_id, job.claimed.attempt)
        started = seen_at = time.monotonic()
        seen, node, shows_waiting = 0, "", False
        while not placed.wait(_POLL_SECONDS):
            now = time.monotonic()
            if job.cancel.is_set():
                raise CancelledError
            beats = self._heartbeats.of(claim)
            if beats is None:
                # The database is unavailable, so the state of the node is unknown.
                seen_at = now
                continue
            count, node = beats
            if count != seen:
                if not seen:
                    started = now
                    if shows_waiting:
                        _update_reason(job, "running")
                seen, seen_at = count, now
            elif seen and now - seen_at > self._lease_seconds:
                raise PlatformError(f"The node {node} that ran the model stopped sending heartbeats.")
            elif seen and now - started > limits.seconds + _PREPARATION_SECONDS:
                raise PlatformError(f"The node {node} did not end the run after its time limit.")
            elif not seen and now - started > self._url_seconds / 2:
                return False
            elif not seen and not shows_waiting and now - started > _WAITING_NOTICE_SECONDS:
                shows_waiting = True
                _update_reason(job, "waiting_for_node")
        return True

    def _order(
        self, job: Job, pickle_run: PickleRun, limits: Limits, key: str, max_bytes: int, *, has_benchmarks: bool
    ) -> JobSpec:
        claimed, config = job.claimed, job.config
        until = datetime.now(UTC) + timedelta(seconds=self._url_seconds)
        long_until = until + timedelta(seconds=limits.seconds + _PREPARATION_SECONDS)
        tables = self._tables(pickle_run.tables_key, until) if config.trees else None
        return JobSpec(
            run_id=claimed.run_id,
            attempt=claimed.attempt,
            limits=limits,
            runtime=pickle_run.runtime_folder,
            lock=self._lock(pickle_run.runtime_folder, until),
            pickle=self._item(pickle_run.pickle_key, until),
            features=self._item(pickle_run.features_key, until),
            benchmarks=self._item(pickle_run.benchmarks_key, until) if has_benchmarks else None,
            tables=tables,
            without_targets=pickle_run.is_validation,
            imports=None if pickle_run.tables_key is None else pickle_run.imports,
            proven=pickle_run.tables_key is not None,
            trees=config.trees,
            keep_tables=config.trees and tables is None and pickle_run.tables_key != NO_TREES,
            seed=seed_of(claimed),
            result_url=self._storage.presign("PUT", key, expires_at=long_until, max_bytes=max_bytes),
            max_result_bytes=max_bytes,
            report_url=f"{self._node_url}/nodes/runs/{claimed.run_id}/{claimed.attempt}",
            report_token=secrets.token_urlsafe(32),
            heartbeat_seconds=max(0.5, self._lease_seconds / 6),
            lease_seconds=self._lease_seconds,
        )

    def _item(self, key: str, until: datetime) -> ObjectRef:
        """Return a URL of an object with its hash and size."""
        stored = object_hashes(self._database, self._storage, key)[key]
        url = self._storage.presign("GET", key, expires_at=until)
        return ObjectRef(url=url, sha256=stored.sha256, size=stored.size_bytes)

    def _tables(self, key: str | None, until: datetime) -> ObjectRef | None:
        """Return the compiled tables with this key; None if they are missing, so that the run creates them."""
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
            raise PlatformError("The node reported the end of the run, but sent no result.")
        if size > max_result_bytes(limits):
            raise PlatformError(
                f"The result of the node has {size} bytes, more than the limit of {max_result_bytes(limits)} bytes."
            )
        with self._storage.local_path(key) as path, path.open("rb") as file:
            return read_result(file, limits)


class _Heartbeats:
    """The heartbeats of all runs, read in one query for all waiting threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._read_at = 0.0
        self._is_read = False
        self._cached: dict[tuple[str, int], tuple[int, str]] = {}

    def of(self, claim: tuple[str, int]) -> tuple[int, str] | None:
        """Return the number of heartbeats of the run and its node; None if the database is unavailable."""
        with self._lock:
            self._refresh()
            return self._cached.get(claim, (0, "")) if self._is_read else None

    def runs(self) -> set[tuple[str, int]]:
        """Return the active runs of all servers on the cluster at the last read."""
        with self._lock:
            self._refresh()
            return set(self._cached)

    def forget(self, claim: tuple[str, int]) -> None:
        """Forget a run that has ended before the next read."""
        with self._lock:
            self._cached.pop(claim, None)

    def _refresh(self) -> None:
        if time.monotonic() - self._read_at <= _HEARTBEAT_SECONDS:
            return
        try:
            with self._database.read() as session:
                self._cached = node_runs.list_heartbeats(session)
            self._is_read = True
        except SQLAlchemyError:
            self._is_read = False
        self._read_at = time.monotonic()


def result_key(run_id: str, attempt: int) -> str:
    """Return the storage key of the result of a node; leftovers are deleted with unregistered uploads."""
    return f"incoming/answers/{run_id}-{attempt}"


def _update_reason(job: Job, code: str) -> None:
    reason = Reason(code=code, facts={"attempt": job.claimed.attempt})
    with suppress(SQLAlchemyError), job.database.write() as session:
        update_reason(session, job.claimed, reason)
