"""The sandbox run of a pickle, for whatever purpose."""

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from predictd.data.files import row_count
from predictd.db.models import Pickle, Runtime
from predictd.domain.errors import RuntimeMissingError
from predictd.domain.limits import Limits
from predictd.domain.runs import RunReport, RunRequest, RuntimePaths
from predictd.jobs.queue import Claim
from predictd.sandbox import run
from predictd.sandbox.import_hints import likely_imports
from predictd.worker.config import Job, WorkerConfig
from predictd.worker.live_data import local_data
from predictd.worker.run_cache import NO_TREES, found_tables, keep


@dataclass(frozen=True, kw_only=True)
class PickleRun:
    """A pickle, its runtime and the data it is to run on, as keys of storage; `benchmarks_key` may be of nothing.

    `is_validation` says that the data hold targets, which the model must not see.
    """

    pickle_id: str
    pickle_key: str
    runtime_folder: str
    tables_key: str | None
    imports: tuple[str, ...]
    features_key: str
    benchmarks_key: str
    is_validation: bool

    @classmethod
    def of(
        cls, session: Session, pickle: Pickle, *, features_key: str, benchmarks_key: str, is_validation: bool = False
    ) -> "PickleRun":
        """The run of a pickle on these data."""
        return cls(
            pickle_id=pickle.id,
            pickle_key=pickle.storage_key,
            runtime_folder=session.get_one(Runtime, pickle.runtime_id).folder,
            tables_key=pickle.tables_key,
            imports=tuple(pickle.imports.split()),
            features_key=features_key,
            benchmarks_key=benchmarks_key,
            is_validation=is_validation,
        )


def seed_of(claimed: Claim) -> int:
    """What the random numbers of that attempt start from: others each time, and the same when it is run again."""
    return int.from_bytes(hashlib.sha256(f"{claimed.trigger_id}/{claimed.attempt}".encode()).digest()[:4])


def lock_key(folder: str) -> str:
    """Where the lock of a runtime lies for the nodes of a cluster."""
    return f"locks/{folder}.txt"


def run_pickle(job: Job, wanted: PickleRun, limits: Limits, files: ExitStack) -> tuple[RunReport, Path]:
    """Run it, keep what makes its next run faster, and answer the report with the features' file.

    Files of this machine are there until `files` is closed.

    Raises:
        PlatformError: the platform is at fault.
        CancelledError: the job was cancelled.
    """
    features, benchmarks = local_data(job.storage, wanted.features_key, wanted.benchmarks_key, files)
    place = job.config.place
    if place is not None:
        report, keeps_tables = place.run(
            job, wanted, limits, rows=row_count(features), has_benchmarks=benchmarks is not None
        )
    else:
        report, keeps_tables = _run_here(job, wanted, limits, features, benchmarks, files)
    if report.predictions is not None:
        keep(job.database, job.storage, wanted.pickle_id, report, job.config.quotas, wanted=keeps_tables)
    if report.tables is not None:
        report.tables.close()
    return report, features


def _run_here(
    job: Job, wanted: PickleRun, limits: Limits, features: Path, benchmarks: Path | None, files: ExitStack
) -> tuple[RunReport, bool]:
    """The run on this machine, and whether it was asked for tables."""
    storage, config = job.storage, job.config
    mapped = files.enter_context(config.mapped.held(features, without_targets=wanted.is_validation))
    if benchmarks is not None:
        benchmarks = files.enter_context(config.mapped.held(benchmarks))
    tables = files.enter_context(found_tables(storage, wanted.tables_key)) if config.trees else None
    pickle = files.enter_context(storage.local_path(wanted.pickle_key))
    request = RunRequest(
        pickle=pickle,
        live=mapped,
        benchmarks=benchmarks,
        runtime=_runtime(config, wanted.runtime_folder),
        limits=limits,
        slot=job.slot,
        imports=likely_imports(pickle) if wanted.tables_key is None else wanted.imports,
        proven=wanted.tables_key is not None,
        trees=config.trees,
        tables=tables,
        keep_tables=config.trees and tables is None and wanted.tables_key != NO_TREES,
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
