"""Diagnostics runs: metrics of a pickle, or of an uploaded file, on the validation data."""

import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from predictd.data.layout import version_key
from predictd.data.schema import VALIDATION_BENCHMARKS_FILE, VALIDATION_FILE, VALIDATION_FILES
from predictd.db import Database
from predictd.db.catalog import list_data_versions
from predictd.db.models import DataVersion, Diagnostics, Pickle, Run
from predictd.db.retry import retry_transaction, retry_until_available
from predictd.db.stored_files import charge
from predictd.domain.errors import BusyError, InvalidInputError, OutageError
from predictd.domain.failures import ModelFailure
from predictd.domain.limits import Limits
from predictd.domain.notification_types import Event
from predictd.domain.reasons import Reason
from predictd.domain.run_records import RunRecord, StoredObject
from predictd.domain.runs import Predictions, RunReport
from predictd.domain.states import RunState
from predictd.jobs.queue import Claim, advance, update_reason
from predictd.notifications.outbox import notify_run
from predictd.scoring.metrics import Diagnostics as Figures
from predictd.scoring.subprocess_scoring import Task, diagnose_in_subprocess
from predictd.scoring.validation import Progress
from predictd.storage import Storage
from predictd.uploads.quota_checks import check_disk
from predictd.worker.config import Job
from predictd.worker.execution import run_pickle
from predictd.worker.hashes import sha256_of
from predictd.worker.live_run import finish_log, record_failure
from predictd.worker.pickle_run import PickleRun
from predictd.worker.provenance import build_record, save_record

log = structlog.get_logger()

PROGRESS_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class _DiagnosticsTask:
    """The input of a diagnostics run: a pickle to run, or an uploaded file."""

    diagnostics_id: str
    run: PickleRun | None
    upload_key: str | None
    versions: list[str]


def diagnose(job: Job) -> None:
    """Run the diagnostics of the claimed run.

    Raises:
        PlatformError: the platform is at fault.
        CancelledError: the job was cancelled.
    """
    database, storage, claimed = job.database, job.storage, job.claimed
    started = time.monotonic()
    task = retry_until_available(lambda: _prepare(database, storage, claimed), cancel=job.cancel)
    if task is None:
        return
    used: Reason | None = None
    key = task.upload_key
    record: RunRecord | None = None
    with ExitStack() as files:
        if task.run is not None:
            limits = job.config.diagnostics_limits
            report, _ = run_pickle(job, task.run, limits, files)
            outcome = report.outcome()
            record = _record_of(job, task.run, report, limits)
            if isinstance(outcome, ModelFailure):
                record_failure(job, outcome, report, record)
                return
            used = report.use(limits)
            finish_log(job)
            key = f"diagnostics/{task.diagnostics_id}-{claimed.attempt}.parquet"
            record = replace(record, output=_store_predictions(job, key, outcome))
            log.info("predictions_stored", key=key, rows=len(outcome.ids))
            del report, outcome
        assert key is not None
        reason = Reason(code="scoring_predictions", notes=() if used is None else (used,))
        if not retry_transaction(
            database,
            lambda session: advance(session, claimed, RunState.VALIDATING, reason, datetime.now(UTC)),
            cancel=job.cancel,
        ):
            return
        progress = _Progress(database, claimed, reason)
        try:
            figures, number = _figures(job, task, key, files, progress.show)
        except InvalidInputError as error:
            _refuse(job, error)
            return
    if isinstance(figures, ModelFailure):
        record_failure(job, figures, record=record)
        return
    seconds, version = time.monotonic() - started, task.versions[number]
    log.info("validated", version=version, eras=figures.eras_accepted_count, seconds=round(seconds, 2))

    def end(session: Session) -> None:
        if _complete(session, claimed, task, figures, key=key, version=version, seconds=seconds) and record is not None:
            save_record(session, claimed, record, datetime.now(UTC))

    retry_transaction(database, end, cancel=job.cancel)


class _Progress:
    """Updates the share of scored eras in the status history, every `PROGRESS_SECONDS`."""

    def __init__(self, database: Database, claimed: Claim, reason: Reason) -> None:
        self._database = database
        self._claimed = claimed
        self._reason = reason
        self._next = time.monotonic() + PROGRESS_SECONDS

    def show(self, done: int, total: int) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PROGRESS_SECONDS
        with suppress(SQLAlchemyError), self._database.write() as session:
            scored = Reason(code="eras_scored", facts={"done": done / total})
            update_reason(session, self._claimed, replace(self._reason, notes=(*self._reason.notes, scored)))


def _figures(
    job: Job, diagnostics_task: _DiagnosticsTask, key: str, files: ExitStack, progress: Progress
) -> tuple[Figures | ModelFailure, int]:
    storage, config = job.storage, job.config
    keys = [version_key(name) for name in diagnostics_task.versions]
    folders = [files.enter_context(storage.local_folder(key, VALIDATION_FILES)) for key in keys]
    task = Task(
        predictions=str(files.enter_context(storage.local_path(key))),
        folders=tuple(map(str, folders)),
        mapped=str(config.mapped.folder),
        mapped_limit=config.mapped.limit,
        factors=str(config.factors),
        is_complete=diagnostics_task.run is not None,
    )
    return diagnose_in_subprocess(task, progress=progress, cancel=job.cancel)


def _prepare(database: Database, storage: Storage, claimed: Claim) -> _DiagnosticsTask | None:
    """Return the input of the run; None if nothing is left to do."""
    with database.write() as session:
        run = session.get_one(Run, claimed.run_id)
        diagnostics = session.get(Diagnostics, run.diagnostics_id) if run.diagnostics_id else None
        if run.attempt != claimed.attempt or diagnostics is None:
            return None
        pickle = session.get(Pickle, diagnostics.pickle_id) if diagnostics.pickle_id else None
        data_versions = list_data_versions(session) if pickle is None else [pickle.data_version]
        versions = [
            version.name
            for version in sorted(data_versions, key=lambda version: not version.is_default)
            if storage.stat(version_key(version.name, VALIDATION_FILE)) is not None
        ]
        if not versions:
            names = ", ".join(version.name for version in data_versions)
            reason = Reason(code="no_validation_data", facts={"versions": names, "file": VALIDATION_FILE})
            advance(session, claimed, RunState.ERROR, reason, datetime.now(UTC), failure_code=reason.code)
            return None
        pickle_run = None
        if pickle is not None:
            pickle_run = PickleRun.of(
                session,
                pickle,
                features_key=version_key(versions[0], VALIDATION_FILE),
                benchmarks_key=version_key(versions[0], VALIDATION_BENCHMARKS_FILE),
                is_validation=True,
            )
        return _DiagnosticsTask(
            diagnostics_id=diagnostics.id,
            run=pickle_run,
            upload_key=diagnostics.storage_key if pickle is None else None,
            versions=versions,
        )


def predictions_table(predictions: Predictions) -> pa.Table:
    """Return the predictions as a table with the columns id and prediction."""
    return pa.table({"id": pa.array(predictions.ids, pa.string()), "prediction": predictions.values})


def _record_of(job: Job, run: PickleRun, report: RunReport, limits: Limits) -> RunRecord:
    return retry_until_available(lambda: build_record(job, run, report, limits), cancel=job.cancel)


def _store_predictions(job: Job, key: str, predictions: Predictions) -> StoredObject:
    return retry_until_available(lambda: _store(job, key, predictions), cancel=job.cancel)


def _store(job: Job, key: str, predictions: Predictions) -> StoredObject:
    """Store the predictions, which count toward the account's storage.

    Raises:
        OutageError: the disk has no free space beyond its reserve, so the run is retried later.
    """
    with tempfile.TemporaryDirectory(prefix="predictd-") as folder:
        path = Path(folder) / "predictions.parquet"
        pq.write_table(predictions_table(predictions), path)
        size = path.stat().st_size
        try:
            check_disk(job.storage, job.config.quotas.free_bytes, size)
        except BusyError as error:
            raise OutageError(error.message) from error
        with job.database.write() as session:
            account_id = session.get_one(Run, job.claimed.run_id).account_id
            if account_id is not None:
                charge(session, account_id, key, size, datetime.now(UTC))
        job.storage.put_file(key, path)
        return StoredObject(key=key, sha256=sha256_of(path), size_bytes=size)


def _complete(
    session: Session,
    claimed: Claim,
    task: _DiagnosticsTask,
    figures: Figures,
    *,
    key: str,
    version: str,
    seconds: float,
) -> bool:
    """End the run with the figures; return False, without changes, if the claim is lost."""
    now = datetime.now(UTC)
    facts = {"eras": figures.eras_accepted_count, "corr_mean": figures.validation_corr_mean}
    reason = Reason(code="diagnostics_done", facts=facts)
    if not advance(session, claimed, RunState.SUCCEEDED, reason, now):
        return False
    diagnostics = session.get_one(Diagnostics, task.diagnostics_id)
    diagnostics.figures = figures.wire()
    diagnostics.message = figures.suspicion
    diagnostics.storage_key = key
    diagnostics.data_version_id = session.scalars(select(DataVersion.id).where(DataVersion.name == version)).one()
    diagnostics.process_seconds = seconds
    diagnostics.updated_at = now
    notify_run(session, session.get_one(Run, claimed.run_id), Event.DIAGNOSTICS_READY, now)
    return True


def _refuse(job: Job, error: InvalidInputError) -> None:
    claimed, now = job.claimed, datetime.now(UTC)

    def end(session: Session) -> None:
        reason = Reason(code="invalid_file", facts={"detail": error.message})
        if advance(session, claimed, RunState.FAILED, reason, now, failure_code=reason.code):
            notify_run(session, session.get_one(Run, claimed.run_id), Event.RUN_FAILED, now)

    retry_transaction(job.database, end, cancel=job.cancel)
