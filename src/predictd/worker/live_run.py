"""A run on live data: for a round, or to validate a pickle."""

import secrets
import signal
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import structlog
from sqlalchemy.orm import Session

from predictd.data.layout import round_key, version_key
from predictd.data.schema import LIVE_BENCHMARKS_FILE, LIVE_FILE
from predictd.db import Database
from predictd.db.models import Pickle, Round, Run
from predictd.db.retry import retry_transaction, retry_until_available
from predictd.db.rounds import current_round
from predictd.domain.errors import KilledOnceError
from predictd.domain.failures import ModelFailure
from predictd.domain.names import CLASSIC
from predictd.domain.reasons import KILLED, Reason
from predictd.domain.run_records import RunRecord
from predictd.domain.runs import RunReport
from predictd.domain.states import RunState, RunType
from predictd.jobs.queue import Claim, advance, record_usage
from predictd.scoring import check_submission, predictions_csv
from predictd.storage import Storage
from predictd.uploads.submissions import StoredPredictions
from predictd.worker.config import Job
from predictd.worker.execution import run_pickle
from predictd.worker.finalize import complete_run, fail_run
from predictd.worker.pickle_run import PickleRun
from predictd.worker.provenance import build_record, save_record, stored_object
from predictd.worker.run_cache import ids_of

log = structlog.get_logger()


def predict(job: Job) -> None:
    """Execute the claimed run's pickle on live data, and submit or record its failure.

    Raises:
        PlatformError: the platform is at fault.
        CancelledError: the job was cancelled.
    """
    claimed, limits = job.claimed, job.config.limits
    pickle_run = retry_until_available(lambda: _prepare(job.database, claimed), cancel=job.cancel)
    if pickle_run is None:
        return
    with ExitStack() as files:
        report, live = run_pickle(job, pickle_run, limits, files)
        live_ids = ids_of(live)
    outcome = report.outcome()
    # An outage at the end of a run must not waste a run of minutes.
    record = retry_until_available(lambda: build_record(job, pickle_run, report, limits), cancel=job.cancel)
    if isinstance(outcome, ModelFailure):
        record_failure(job, outcome, report, record)
        return
    used = report.use(limits)
    # The log of a successful run holds only the output of the model.
    finish_log(job)

    def begin_check(session: Session) -> bool:
        reason = Reason(code="checking_predictions", notes=(used,))
        is_ours = advance(session, claimed, RunState.VALIDATING, reason, datetime.now(UTC))
        return is_ours and record_usage(session, claimed, report)

    if not retry_transaction(job.database, begin_check, cancel=job.cancel):
        return
    failure = check_submission(outcome, live_ids)
    if failure is not None:
        record_failure(job, failure, record=record)
        return
    content = predictions_csv(outcome)
    rows = len(outcome.ids)
    predictions = retry_until_available(
        lambda: _store(job.storage, claimed, content, row_count=rows), cancel=job.cancel
    )
    record = replace(record, output=stored_object(predictions.key, content))
    log.info("predictions_stored", key=predictions.key, rows=predictions.row_count)

    def end(session: Session) -> None:
        now = datetime.now(UTC)
        if complete_run(session, claimed, predictions, used, now):
            save_record(session, claimed, record, now)

    retry_transaction(job.database, end, cancel=job.cancel)


def predictions_key(run_id: str, attempt: int) -> str:
    """Return the storage key of the predictions of an attempt."""
    return f"predictions/{run_id}-{attempt}.csv"


def record_failure(
    job: Job, failure: ModelFailure, report: RunReport | None = None, record: RunRecord | None = None
) -> None:
    """End the run as a model failure and append the failure to its log; store the usage of `report`, if given.

    `record` is the record of the run, if there is one.

    Raises:
        PlatformError: the platform may be at fault; a second run decides.
    """
    if _is_doubtful(job, failure):
        raise KilledOnceError("The model's process was killed (SIGKILL); a second run shows why.")
    finish_log(job, f"[predictd] {failure.code}: {failure.describe()}")

    def end(session: Session) -> None:
        now = datetime.now(UTC)
        if report is not None:
            record_usage(session, job.claimed, report)
        if fail_run(session, job.claimed, failure, now, job.is_usable) and record is not None:
            save_record(session, job.claimed, replace(record, outcome=failure.code), now)

    retry_transaction(job.database, end, cancel=job.cancel)


def _is_doubtful(job: Job, failure: ModelFailure) -> bool:
    """Return whether the platform may have killed the model: SIGKILL for the first time, within the memory limit."""
    if failure.code != "killed" or not failure.facts.get("detail", "").startswith(f"{signal.SIGKILL:d} "):
        return False

    def is_first(session: Session) -> bool:
        run = session.get_one(Run, job.claimed.run_id)
        was_killed = any(status.code == KILLED for status in run.statuses)
        return not was_killed and run.failures + 1 < job.config.max_attempts

    return retry_transaction(job.database, is_first, cancel=job.cancel)


def finish_log(job: Job, last_line: str | None = None) -> None:
    """Store the output of the model, optionally followed by a line of the platform."""
    job.writer.end(last_line)
    retry_until_available(job.writer.flush, cancel=job.cancel)


def _prepare(database: Database, claimed: Claim) -> PickleRun | None:
    """Return the run to execute; a validation joins the open round."""
    now = datetime.now(UTC)
    # A read transaction does not block writers.
    with database.write() if claimed.type is RunType.VALIDATION else database.read() as session:
        return _read(session, claimed, now)


def _read(session: Session, claimed: Claim, now: datetime) -> PickleRun | None:
    run = session.get_one(Run, claimed.run_id)
    if run.attempt != claimed.attempt:
        return None
    pickle = session.get_one(Pickle, run.pickle_id)
    if run.type == RunType.VALIDATION:
        open_now = current_round(session, CLASSIC, now)
        run.round_id = open_now.id if open_now is not None else None
    round_ = session.get_one(Round, run.round_id) if run.round_id else None
    version = pickle.data_version.name

    def live(filename: str) -> str:
        return round_key(version, round_.number, filename) if round_ else version_key(version, filename)

    return PickleRun.of(session, pickle, features_key=live(LIVE_FILE), benchmarks_key=live(LIVE_BENCHMARKS_FILE))


def _store(storage: Storage, claimed: Claim, content: bytes, *, row_count: int) -> StoredPredictions:
    key = predictions_key(claimed.run_id, claimed.attempt)
    with tempfile.TemporaryDirectory(prefix="predictd-") as folder:
        path = Path(folder) / "predictions.csv"
        path.write_bytes(content)
        storage.put_file(key, path)
    return StoredPredictions(
        key=key,
        filename=f"live_predictions-{secrets.token_hex(6)}.csv",
        row_count=row_count,
    )
