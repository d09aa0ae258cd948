"""One claimed trigger from its claim to its end."""

import secrets
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from predictd.data.layout import round_key, version_key
from predictd.data.mapped_cache import MappedCache
from predictd.db import Database
from predictd.db.rounds import current_round
from predictd.db.tables import Pickle, Round, Runtime, Trigger
from predictd.domain.errors import PlatformError
from predictd.domain.failures import ModelFailure
from predictd.domain.limits import Limits
from predictd.domain.names import CLASSIC
from predictd.domain.runs import Predictions, RunRequest, RuntimePaths, SandboxKind
from predictd.domain.states import TriggerState, TriggerType
from predictd.engine.live import local_live_files
from predictd.engine.logs import LogWriter
from predictd.engine.outcome import conclude, fail
from predictd.engine.queue import Claim, advance, retry
from predictd.engine.speed import NO_TREES, forget_tables, found_tables, ids_of, keep, likely_imports
from predictd.engine.submissions import StoredPredictions
from predictd.sandbox import RunCancelled, WarmParents, run
from predictd.scoring import check_submission, predictions_csv
from predictd.storage import Storage

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """What every run of this server shares."""

    limits: Limits
    kind: SandboxKind
    max_attempts: int
    retry_seconds: float
    parents: WarmParents | None
    trees: bool
    mapped: MappedCache
    find_runtime: Callable[[str], RuntimePaths]


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What one claimed trigger is about."""

    claimed: Claim
    pickle_key: str
    runtime_folder: str
    live_key: str
    benchmarks_key: str
    failures: int
    pickle_id: str
    tables_key: str | None
    imports: tuple[str, ...]


def work(
    database: Database,
    storage: Storage,
    config: WorkerConfig,
    claimed: Claim,
    slot: int,
    writer: LogWriter,
    cancel: threading.Event,
) -> None:
    """Run the claimed trigger and record how it ended; never raises.

    A failure of the model ends the trigger; a failure of the platform puts it back to be tried again; a cancelled run
    records nothing, because it was cancelled by whoever decides what becomes of the trigger.
    """
    bound = log.bind(trigger=claimed.trigger_id, attempt=claimed.attempt)
    failures = 0
    assignment = None
    try:
        assignment = _prepare(database, claimed)
        if assignment is None:
            return
        failures = assignment.failures
        _run(database, storage, config, assignment, slot, writer, cancel)
    except RunCancelled:
        bound.info("run_cancelled")
    except PlatformError as error:
        bound.error("platform_error", error=error.message)
        if assignment is not None and assignment.tables_key:
            with suppress(SQLAlchemyError):
                forget_tables(database, assignment.pickle_id)
        _retry(database, config, claimed, f"The platform failed: {error.message}", failures)
    except Exception:  # noqa: BLE001 (whatever it is, it's ours: the trigger must not stay Running)
        bound.exception("platform_error")
        _retry(database, config, claimed, "The platform failed in a way it did not expect.", failures)
    finally:
        with suppress(SQLAlchemyError):
            writer.close()


def _prepare(database: Database, claimed: Claim) -> Assignment | None:
    """Read what the trigger is about; a validation joins the round that is open now."""
    now = datetime.now(UTC)
    with database.write() as session:
        trigger = session.get_one(Trigger, claimed.trigger_id)
        if trigger.attempt != claimed.attempt:
            return None
        pickle = session.get_one(Pickle, trigger.pickle_id)
        if trigger.type == TriggerType.VALIDATION:
            open_now = current_round(session, CLASSIC, now)
            trigger.round_id = open_now.id if open_now is not None else None
        round_ = session.get_one(Round, trigger.round_id) if trigger.round_id else None
        version = pickle.data_version.name

        def live(filename: str) -> str:
            return round_key(version, round_.number, filename) if round_ else version_key(version, filename)

        return Assignment(
            claimed=claimed,
            pickle_key=pickle.storage_key,
            runtime_folder=session.get_one(Runtime, pickle.runtime_id).folder,
            live_key=live("live.parquet"),
            benchmarks_key=live("live_benchmark_models.parquet"),
            failures=trigger.failures,
            pickle_id=pickle.id,
            tables_key=pickle.tables_key,
            imports=tuple(pickle.imports.split()),
        )


def _run(
    database: Database,
    storage: Storage,
    config: WorkerConfig,
    assignment: Assignment,
    slot: int,
    writer: LogWriter,
    cancel: threading.Event,
) -> None:
    claimed = assignment.claimed
    with ExitStack() as files:
        live, benchmarks = local_live_files(storage, assignment.live_key, assignment.benchmarks_key, files)
        mapped = files.enter_context(config.mapped.held(live))
        if benchmarks is not None:
            benchmarks = files.enter_context(config.mapped.held(benchmarks))
        tables = files.enter_context(found_tables(storage, assignment.tables_key)) if config.trees else None
        pickle = files.enter_context(storage.local_path(assignment.pickle_key))
        request = RunRequest(
            pickle=pickle,
            live=mapped,
            benchmarks=benchmarks,
            runtime=config.find_runtime(assignment.runtime_folder),
            limits=config.limits,
            slot=slot,
            imports=likely_imports(pickle) if assignment.tables_key is None else assignment.imports,
            proven=assignment.tables_key is not None,
            trees=config.trees,
            tables=tables,
            keep_tables=config.trees and tables is None and assignment.tables_key != NO_TREES,
        )
        report = run(request, on_log=writer.write, cancel=cancel, kind=config.kind, parents=config.parents)
        live_ids = ids_of(live)
    if report.predictions is not None:
        keep(database, storage, assignment.pickle_id, report, wanted=request.keep_tables)
    outcome = report.outcome()
    if isinstance(outcome, ModelFailure):
        _record_failure(database, claimed, outcome, writer)
        return
    used = report.describe_use(config.limits)
    # The log of a success is what the model printed, and nothing else.
    writer.close()
    with database.write() as session:
        told = f"{used} Its predictions are being checked."
        if not advance(session, claimed, TriggerState.VALIDATING, told, datetime.now(UTC)):
            return
    wrong = check_submission(outcome, live_ids)
    if wrong is not None:
        _record_failure(database, claimed, wrong, writer)
        return
    stored = _store(storage, claimed, outcome)
    with database.write() as session:
        conclude(session, claimed, stored, used, datetime.now(UTC))


def _record_failure(database: Database, claimed: Claim, failure: ModelFailure, writer: LogWriter) -> None:
    writer.close(f"[predictd] {failure.code}: {failure.describe()}")
    with database.write() as session:
        fail(session, claimed, failure, datetime.now(UTC))


def _store(storage: Storage, claimed: Claim, predictions: Predictions) -> StoredPredictions:
    key = f"predictions/{claimed.trigger_id}-{claimed.attempt}.csv"
    with tempfile.TemporaryDirectory(prefix="predictd-") as folder:
        path = Path(folder) / "predictions.csv"
        path.write_bytes(predictions_csv(predictions))
        storage.put_file(key, path)
    return StoredPredictions(
        key=key,
        filename=f"live_predictions-{secrets.token_hex(6)}.csv",
        row_count=len(predictions.ids),
    )


def _retry(database: Database, config: WorkerConfig, claimed: Claim, reason: str, failures: int) -> None:
    wait = config.retry_seconds * 2**failures
    try:
        with database.write() as session:
            retry(
                session,
                claimed,
                reason,
                datetime.now(UTC),
                wait_seconds=wait,
                max_attempts=config.max_attempts,
            )
    except Exception:
        log.exception("retry_not_recorded", trigger=claimed.trigger_id)
