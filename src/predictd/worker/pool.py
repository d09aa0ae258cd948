"""The workers of this machine: threads that claim triggers, and one that keeps their leases and logs."""

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
from predictd.db.models import Trigger
from predictd.db.retry import insist, is_outage
from predictd.domain.reasons import Reason
from predictd.domain.states import TriggerType
from predictd.jobs.queue import Claim, claim, give_back, is_waited_for, lost, renew
from predictd.jobs.scheduling import VALIDATION_TURN, Priority, are_late_ones, put_late_ones_back
from predictd.storage import Storage
from predictd.uploads.fallback import usable_with
from predictd.worker.config import Job, WorkerConfig
from predictd.worker.lease_recovery import LeaseWatch, bring_forward, recover_owned
from predictd.worker.run_job import work
from predictd.worker.run_logs import LogWriter

log = structlog.get_logger()

POLL_SECONDS = 0.5
KEEP_SECONDS = 0.5
LATE_SECONDS = 5.0
GIVE_BACK_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class _Run:
    claimed: Claim
    writer: LogWriter
    cancel: threading.Event


def _named(run: _Run) -> AbstractContextManager[object]:
    """What is logged meanwhile has the run's id."""
    return bound_contextvars(trigger=run.claimed.trigger_id, attempt=run.claimed.attempt)


class Executor:
    """Runs the queue, `workers` triggers at a time.

    Args:
        capacity: of those, how many there is room for at the moment, where that changes: so many are claimed at most.
        has_one_place: whether only one run at a time can be made at all, so that diagnostics have to make room.
        server_id: name of this server that outlives a restart; no other running server has it.
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
        has_one_place: Callable[[], bool] | None = None,
    ) -> None:
        self._capacity = capacity
        self._has_one_place = has_one_place or (lambda: workers == 1)
        self._database = database
        self._storage = storage
        self._config = config
        self._is_usable = usable_with(storage, config.has_runtime)
        self._server_id = server_id
        self._lease_seconds = lease_seconds
        self._runs: dict[int, _Run] = {}
        self._watch = LeaseWatch(lease_seconds)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        self._due = threading.Semaphore(0)
        self._threads = [
            threading.Thread(target=self._loop, args=(slot,), name=f"worker-{slot}") for slot in range(workers)
        ]
        self._keeper = threading.Thread(target=self._keep, name="lease-keeper")

    def start(self) -> None:
        """Take up what an earlier process of this server left, and start the workers."""
        with self._database.write() as session:
            found = recover_owned(
                session,
                f"{self._server_id}/",
                datetime.now(UTC),
                max_attempts=self._config.max_attempts,
                is_usable=self._is_usable,
            )
        if found:
            log.info("runs_taken_up", count=found)
        for thread in (*self._threads, self._keeper):
            thread.start()

    def wake(self) -> None:
        """Tell the workers that a trigger was added, so that they need not wait for their next look."""
        self._due.release()

    def stop(self, drain_seconds: float) -> None:
        """Claim nothing more, wait for the runs, then give back those that have not ended.

        Diagnostics, which no round waits for and which may take long, are given back at once.
        """
        self._stopping.set()
        for _ in self._threads:
            self._due.release()
        self._give_back([run for run in self._active() if run.claimed.type is TriggerType.DIAGNOSTICS])
        deadline = time.monotonic() + drain_seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._give_back(self._active())
        for thread in self._threads:
            thread.join()
        self._stopped.set()
        self._keeper.join()

    def _loop(self, slot: int) -> None:
        owner = f"{self._server_id}/{os.getpid()}/{slot}"
        turns = itertools.count(slot)
        while not self._stopping.is_set():
            places = self._places()
            if slot >= places:
                self._stopping.wait(POLL_SECONDS)
                continue
            # A validation of full size takes minutes: one worker is always there for rounds.
            diagnostics = slot > 0 or self._has_one_place()
            first = Priority.VALIDATION if next(turns) % VALIDATION_TURN == VALIDATION_TURN - 1 else None
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
                _tell("claim_failed", error)
            if claimed is None:
                self._due.acquire(timeout=POLL_SECONDS)
                continue
            writer = LogWriter(self._database, claimed, self._config.limits.log_kept_bytes)
            run = _Run(claimed=claimed, writer=writer, cancel=threading.Event())
            with self._lock:
                self._runs[slot] = run
            try:
                work(
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
                log.exception("work_failed", trigger=claimed.trigger_id)
            finally:
                with self._lock:
                    del self._runs[slot]

    def _keep(self) -> None:
        renewed_at = ordered_at = time.monotonic()
        while not self._stopped.wait(KEEP_SECONDS):
            # Whatever becomes of the logs, the leases are kept.
            for do in (self._flush_logs, self._end_lost_runs, self._make_room):
                self._try(do)
            if time.monotonic() - ordered_at >= LATE_SECONDS:
                self._try(self._put_late_ones_back)
                ordered_at = time.monotonic()
            if time.monotonic() - renewed_at < self._lease_seconds / 4:
                continue
            try:
                # In this order, so that after a time without the database nobody recovers what still runs here.
                self._renew()
                renewed_at = time.monotonic()
                if not self._stopping.is_set():
                    self._recover()
            except Exception as error:  # noqa: BLE001 (the keeper never ends)
                _tell("keeping_failed", error)

    def _try(self, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as error:  # noqa: BLE001 (the keeper never ends)
            _tell("keeping_failed", error)

    def _give_back(
        self, runs: list[_Run], code: str = "server_stopping", waits_for: str = "waiting_for_restart"
    ) -> None:
        for run in runs:
            try:
                with _named(run):
                    insist(
                        self._database,
                        partial(_put_back, run.claimed, Reason(code=code), Reason(code=waits_for)),
                        cancel=run.cancel,
                        seconds=GIVE_BACK_SECONDS,
                    )
            except Exception as error:  # noqa: BLE001 (its lease runs out, or the next start finds it)
                _tell("give_back_failed", error)
            run.cancel.set()

    def _make_room(self) -> None:
        """Where there is but one worker, diagnostics make room for what a round waits for, and begin anew after it."""
        running = [run for run in self._active() if run.claimed.type is TriggerType.DIAGNOSTICS]
        if not running or not self._has_one_place():
            return
        with self._database.read() as session:
            runs, missing = self._config.account_runs, self._config.missing.folders()
            if not is_waited_for(session, datetime.now(UTC), account_runs=runs, missing_runtimes=missing):
                return
        self._give_back(running, "preempted", "waiting_for_urgent_runs")

    def _places(self) -> int:
        return len(self._threads) if self._capacity is None else min(self._capacity(), len(self._threads))

    def _active(self) -> list[_Run]:
        with self._lock:
            return list(self._runs.values())

    def _flush_logs(self) -> None:
        for run in self._active():
            with _named(run):
                run.writer.flush()

    def _end_lost_runs(self) -> None:
        """End the sandboxes of runs that were cancelled or withdrawn."""
        runs = self._active()
        if not runs:
            return
        with self._database.read() as session:
            gone = lost(session, [run.claimed for run in runs])
        for run in runs:
            if run.claimed.trigger_id in gone and not run.cancel.is_set():
                log.info("run_taken_away", trigger=run.claimed.trigger_id, attempt=run.claimed.attempt)
                run.cancel.set()

    def _put_late_ones_back(self) -> None:
        now = datetime.now(UTC)
        with self._database.read() as session:
            if not are_late_ones(session, now):
                return
        with self._database.write() as session:
            log.info("runs_will_be_late", count=put_late_ones_back(session, now))

    def _renew(self) -> None:
        for run in self._active():
            with _named(run):
                with self._database.write() as session:
                    held = renew(session, run.claimed, datetime.now(UTC), self._lease_seconds)
                if not held and not self._has_ended(run.claimed):
                    log.warning("lease_lost")
                    run.cancel.set()

    def _has_ended(self, claimed: Claim) -> bool:
        with self._database.read() as session:
            trigger = session.get(Trigger, claimed.trigger_id)
            return trigger is not None and trigger.attempt == claimed.attempt and trigger.lease_owner is None

    def _recover(self) -> None:
        now = datetime.now(UTC)
        with self._database.write() as session:
            count = self._watch.recover(session, now, max_attempts=self._config.max_attempts, is_usable=self._is_usable)
            brought = bring_forward(session, now)
        if count:
            log.warning("leases_expired", count=count)
        if brought:
            log.warning("clock_was_set_back", runs=brought)
        if count or brought:
            self.wake()


def _put_back(claimed: Claim, reason: Reason, waits_for: Reason, session: Session) -> bool:
    return give_back(session, claimed, reason, waits_for, datetime.now(UTC))


def _tell(event: str, error: Exception) -> None:
    """Log it: an outage in a line, anything else with all that is known."""
    if is_outage(error):
        log.warning(event, error=str(error).splitlines()[0][:300])
    else:
        log.error(event, exc_info=error)
