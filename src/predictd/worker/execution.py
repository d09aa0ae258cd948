"""Execution of a pickle in the sandbox, for all types of runs."""

import hashlib
from contextlib import ExitStack
from pathlib import Path

from predictd.data.files import row_count
from predictd.domain.errors import RuntimeMissingError
from predictd.domain.limits import Limits
from predictd.domain.runs import RunReport, RunRequest, RuntimePaths
from predictd.jobs.queue import Claim
from predictd.sandbox import run
from predictd.sandbox.import_hints import likely_imports
from predictd.storage import Storage
from predictd.worker.config import Job, WorkerConfig
from predictd.worker.pickle_run import PickleRun
from predictd.worker.run_cache import NO_TREES, cached_tables, store_run_cache


def seed_of(claimed: Claim) -> int:
    """Return the random seed of an attempt: different for each attempt, the same in a replay."""
    return int.from_bytes(hashlib.sha256(f"{claimed.run_id}/{claimed.attempt}".encode()).digest()[:4])


def lock_key(folder: str) -> str:
    """Return the storage key of the lock file of a runtime, which nodes download."""
    return f"locks/{folder}.txt"


def local_data(storage: Storage, features_key: str, benchmarks_key: str, files: ExitStack) -> tuple[Path, Path | None]:
    """Return local files of the features and of the benchmark models, if any; they exist until `files` is closed.

    Raises:
        PlatformError: the features do not exist.
    """
    features = files.enter_context(storage.local_path(features_key))
    if storage.stat(benchmarks_key) is None:
        return features, None
    return features, files.enter_context(storage.local_path(benchmarks_key))


def run_pickle(job: Job, pickle_run: PickleRun, limits: Limits, files: ExitStack) -> tuple[RunReport, Path]:
    """Run the pickle, update its run cache, and return the report and the features file.

    Local files exist until `files` is closed.

    Raises:
        PlatformError: the platform is at fault.
        CancelledError: the job was cancelled.
    """
    features, benchmarks = local_data(job.storage, pickle_run.features_key, pickle_run.benchmarks_key, files)
    backend = job.config.backend
    if backend is not None:
        report, keeps_tables = backend.run(
            job, pickle_run, limits, rows=row_count(features), has_benchmarks=benchmarks is not None
        )
    else:
        report, keeps_tables = _run_here(job, pickle_run, limits, features, benchmarks, files)
    if report.predictions is not None:
        store_run_cache(
            job.database, job.storage, pickle_run.pickle_id, report, job.config.quotas, asked_for_tables=keeps_tables
        )
    if report.tables is not None:
        report.tables.close()
    return report, features


def _run_here(
    job: Job, pickle_run: PickleRun, limits: Limits, features: Path, benchmarks: Path | None, files: ExitStack
) -> tuple[RunReport, bool]:
    """Run the pickle on this machine; return the report and whether tables were requested."""
    storage, config = job.storage, job.config
    mapped = files.enter_context(config.mapped.held(features, without_targets=pickle_run.is_validation))
    if benchmarks is not None:
        benchmarks = files.enter_context(config.mapped.held(benchmarks))
    tables = files.enter_context(cached_tables(storage, pickle_run.tables_key)) if config.trees else None
    pickle = files.enter_context(storage.local_path(pickle_run.pickle_key))
    request = RunRequest(
        pickle=pickle,
        live=mapped,
        benchmarks=benchmarks,
        runtime=_runtime(config, pickle_run.runtime_folder),
        limits=limits,
        slot=job.slot,
        imports=likely_imports(pickle) if pickle_run.tables_key is None else pickle_run.imports,
        proven=pickle_run.tables_key is not None,
        trees=config.trees,
        tables=tables,
        keep_tables=config.trees and tables is None and pickle_run.tables_key != NO_TREES,
        seed=seed_of(job.claimed),
    )
    report = run(request, on_log=job.writer.write, cancel=job.cancel, kind=config.kind, fork_pool=config.parents)
    return report, request.keep_tables


def _runtime(config: WorkerConfig, folder: str) -> RuntimePaths:
    try:
        return config.find_runtime(folder)
    except RuntimeMissingError:
        config.missing.add(folder)
        raise
