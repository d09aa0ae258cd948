"""The worker pool: threads that claim and execute runs, and one that renews leases and stores logs."""

import itertools
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import structlog
from sqlalchemy.orm import Session
from structlog.contextvars import bound_contextvars

from predictd.db import Database
from predictd.db.models import Run
from predictd.db.retry import is_outage, retry_transaction
from predictd.domain.reasons import Reason
from predictd.domain.states import RunType
from predictd.jobs.queue import Claim, claim, find_lost_claims, has_due_run, renew, requeue_claim
from predictd.jobs.scheduling import VALIDATION_INTERVAL, Priority, deprioritize_late_runs, has_late_runs
from predictd.storage import Storage
from predictd.uploads.fallback import usability_check
from predictd.worker.config import Job, WorkerConfig
from predictd.worker.lease_recovery import LeaseMonitor, bring_forward, recover_owned
from predictd.worker.run_job import run_job
from predictd.worker.run_logs import LogWriter

log = structlog.get_logger()

POLL_SECONDS = 0.5
MAINTENANCE_SECONDS = 0.5
LATE_CHECK_SECONDS = 5.0
REQUEUE_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class _ActiveRun:
    claimed: Claim
    writer: LogWriter
    cancel: threading.Event


def _log_context(run: _ActiveRun) -> AbstractContextManager[object]:
    """Add the ids of the run to log events."""
    return bound_contextvars(run=run.claimed.run_id, attempt=run.claimed.attempt)


class WorkerPool:
    """Executes the runs of the queue, up to `workers` at a time.

    Args:
        capacity: returns how many runs the cluster has room for now; limits the claims.
        is_single_slot: returns whether only one run fits at a time, so that diagnostics are preempted.
        server_id: unique id of this server that survives restarts.
    """

    def __init__(
        self,
        database: Database,
        storage: Storage,
        config: WorkerConfig,
        *,
        server_id: str,
        workers: int,
        lease_seconds: float,
        capacity: Callable[[], int] | None = None,
        is_single_slot: Callable[[], bool] | None = None,
    ) -> None:
        self._capacity = capacity
        self._is_single_slot = is_single_slot or (lambda: workers == 1)
        self._database = database
        self._storage = storage
        self._config = config
        self._is_usable = usability_check(storage, config.has_runtime)
        self._server_id = server_id
        self._lease_seconds = lease_seconds
        self._runs: dict[int, _ActiveRun] = {}
        self._watch = LeaseMonitor(lease_seconds)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        self._due = threading.Semaphore(0)
        self._threads = [
            threading.Thread(target=self._loop, args=(slot,), name=f"worker-{slot}") for slot in range(workers)
        ]
        self._maintenance = threading.Thread(target=self._maintain, name="lease-keeper")

    def start(self) -> None:
        """Recover the claims of an earlier process of this server, and start the workers."""
        with self._database.write() as session:
            recovered = recover_owned(
                session,
                f"{self._server_id}/",
                datetime.now(UTC),
                max_attempts=self._config.max_attempts,
                is_usable=self._is_usable,
            )
        if recovered:
            log.info("runs_recovered", count=recovered)
        for thread in (*self._threads, self._maintenance):
            thread.start()

    def wake(self) -> None:
        """Wake the workers because a run was added."""
        self._due.release()

    def stop(self, drain_seconds: float) -> None:
        """Stop claiming, wait for active runs, then requeue those that have not ended.

        Diagnostics runs, which can take long and are not urgent, are requeued immediately.
        """
        self._stopping.set()
        for _ in self._threads:
            self._due.release()
        self._requeue_runs([run for run in self._active() if run.claimed.type is RunType.DIAGNOSTICS])
        deadline = time.monotonic() + drain_seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._requeue_runs(self._active())
        for thread in self._threads:
            thread.join()
        self._stopped.set()
        self._maintenance.join()

    def _loop(self, slot: int) -> None:
        owner = f"{self._server_id}/{os.getpid()}/{slot}"
        turns = itertools.count(slot)
        while not self._stopping.is_set():
            capacity = self._available_slots()
            if slot >= capacity:
                self._stopping.wait(POLL_SECONDS)
                continue
            # Diagnostics take minutes: one worker is reserved for rounds.
            diagnostics = slot > 0 or self._is_single_slot()
            first = Priority.VALIDATION if next(turns) % VALIDATION_INTERVAL == VALIDATION_INTERVAL - 1 else None
            claimed = None
            try:
                with self._database.write() as session:
                    claimed = claim(
                        session,
                        owner,
                        datetime.now(UTC),
                        self._lease_seconds,
                        diagnostics=diagnostics,
                        first=first,
                        account_runs=self._config.account_runs,
                        missing_runtimes=self._config.missing.folders(),
                    )
            except Exception as error:  # noqa: BLE001 (a worker never ends)
                _log_error("claim_failed", error)
            if claimed is None:
                self._due.acquire(timeout=POLL_SECONDS)
                continue
            writer = LogWriter(self._database, claimed, self._config.limits.log_kept_bytes)
            run = _ActiveRun(claimed=claimed, writer=writer, cancel=threading.Event())
            with self._lock:
                self._runs[slot] = run
            try:
                run_job(
                    Job(
                        database=self._database,
                        storage=self._storage,
                        config=self._config,
                        claimed=claimed,
                        slot=slot,
                        writer=writer,
                        cancel=run.cancel,
                    )
                )
            except Exception:
                log.exception("worker_failed", run=claimed.run_id)
            finally:
                with self._lock:
                    del self._runs[slot]

    def _maintain(self) -> None:
        renewed_at = ordered_at = time.monotonic()
        while not self._stopped.wait(MAINTENANCE_SECONDS):
            # A failure to store logs must not prevent lease renewal.
            for do in (self._flush_logs, self._cancel_lost_runs, self._preempt_diagnostics):
                self._try(do)
            if time.monotonic() - ordered_at >= LATE_CHECK_SECONDS:
                self._try(self._deprioritize_late_runs)
                ordered_at = time.monotonic()
            if time.monotonic() - renewed_at < self._lease_seconds / 4:
                continue
            try:
                # Renew before recovering, so that after an outage this server does not recover its own runs.
                self._renew()
                renewed_at = time.monotonic()
                if not self._stopping.is_set():
                    self._recover()
            except Exception as error:  # noqa: BLE001 (the keeper never ends)
                _log_error("maintenance_failed", error)

    def _try(self, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as error:  # noqa: BLE001 (the keeper never ends)
            _log_error("maintenance_failed", error)

    def _requeue_runs(
        self, runs: list[_ActiveRun], code: str = "server_stopping", waits_for: str = "waiting_for_restart"
    ) -> None:
        for run in runs:
            try:
                with _log_context(run):
                    retry_transaction(
                        self._database,
                        partial(_requeue, run.claimed, Reason(code=code), Reason(code=waits_for)),
                        cancel=run.cancel,
                        seconds=REQUEUE_SECONDS,
                    )
            except Exception as error:  # noqa: BLE001 (its lease runs out, or the next start finds it)
                _log_error("requeue_failed", error)
            run.cancel.set()

    def _preempt_diagnostics(self) -> None:
        """With a single worker, requeue diagnostics when a round or validation run is due."""
        running = [run for run in self._active() if run.claimed.type is RunType.DIAGNOSTICS]
        if not running or not self._is_single_slot():
            return
        with self._database.read() as session:
            runs, missing = self._config.account_runs, self._config.missing.folders()
            if not has_due_run(session, datetime.now(UTC), account_runs=runs, missing_runtimes=missing):
                return
        self._requeue_runs(running, "preempted", "waiting_for_urgent_runs")

    def _available_slots(self) -> int:
        return len(self._threads) if self._capacity is None else min(self._capacity(), len(self._threads))

    def _active(self) -> list[_ActiveRun]:
        with self._lock:
            return list(self._runs.values())

    def _flush_logs(self) -> None:
        for run in self._active():
            with _log_context(run):
                run.writer.flush()

    def _cancel_lost_runs(self) -> None:
        """Cancel active runs whose claims are lost."""
        runs = self._active()
        if not runs:
            return
        with self._database.read() as session:
            lost_ids = find_lost_claims(session, [run.claimed for run in runs])
        for run in runs:
            if run.claimed.run_id in lost_ids and not run.cancel.is_set():
                log.info("claim_lost", run=run.claimed.run_id, attempt=run.claimed.attempt)
                run.cancel.set()

    def _deprioritize_late_runs(self) -> None:
        now = datetime.now(UTC)
        with self._database.read() as session:
            if not has_late_runs(session, now):
                return
        with self._database.write() as session:
            log.info("runs_deprioritized", count=deprioritize_late_runs(session, now))

    def _renew(self) -> None:
        for run in self._active():
            with _log_context(run):
                with self._database.write() as session:
                    is_held = renew(session, run.claimed, datetime.now(UTC), self._lease_seconds)
                if not is_held and not self._has_ended(run.claimed):
                    log.warning("lease_lost")
                    run.cancel.set()

    def _has_ended(self, claimed: Claim) -> bool:
        with self._database.read() as session:
            run = session.get(Run, claimed.run_id)
            return run is not None and run.attempt == claimed.attempt and run.lease_owner is None

    def _recover(self) -> None:
        now = datetime.now(UTC)
        with self._database.write() as session:
            count = self._watch.recover(session, now, max_attempts=self._config.max_attempts, is_usable=self._is_usable)
            rescheduled = bring_forward(session, now)
        if count:
            log.warning("leases_expired", count=count)
        if rescheduled:
            log.warning("clock_set_back", runs=rescheduled)
        if count or rescheduled:
            self.wake()


def _requeue(claimed: Claim, reason: Reason, waits_for: Reason, session: Session) -> bool:
    return requeue_claim(session, claimed, reason, waits_for, datetime.now(UTC))


def _log_error(event: str, error: Exception) -> None:
    """Log an outage in one line, and any other error with its traceback."""
    if is_outage(error):
        log.warning(event, error=str(error).splitlines()[0][:300])
    else:
        log.error(event, exc_info=error)
