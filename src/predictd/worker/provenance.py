"""Run records: written in the transaction that ends a run, read for display and replay."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Runtime
from predictd.db.run_tables import RunRecordRow
from predictd.domain.limits import Limits
from predictd.domain.run_records import SUCCESS, RunRecord, StoredObject, UsedRuntime
from predictd.domain.runs import RunReport, RuntimePaths
from predictd.jobs.queue import Claim
from predictd.runtimes.build import LOCK
from predictd.sandbox.command import HASH_SEED
from predictd.worker.config import Job
from predictd.worker.execution import lock_key, seed_of
from predictd.worker.hashes import cached_sha256, code_version, object_hashes
from predictd.worker.pickle_run import PickleRun


def build_record(job: Job, pickle_run: PickleRun, report: RunReport, limits: Limits) -> RunRecord:
    """Build the record of a run that has ended, still without its output.

    Raises:
        PlatformError: an input of the run is missing from storage.
    """
    storage, config, claimed = job.storage, job.config, job.claimed
    keys = [pickle_run.pickle_key, pickle_run.features_key]
    if storage.stat(pickle_run.benchmarks_key) is not None:
        keys.append(pickle_run.benchmarks_key)
    objects = object_hashes(job.database, storage, *keys)
    return RunRecord(
        run_id=claimed.run_id,
        attempt=claimed.attempt,
        outcome=report.failure.code if report.failure is not None else SUCCESS,
        pickle=objects[pickle_run.pickle_key],
        features=objects[pickle_run.features_key],
        benchmarks=objects.get(pickle_run.benchmarks_key),
        output=None,
        is_validation=pickle_run.is_validation,
        runtime=_runtime(job, pickle_run.runtime_folder),
        code=code_version(),
        limits=limits,
        sandbox=config.kind,
        forked=report.forked,
        trees=config.trees,
        seed=seed_of(claimed),
        hash_seed=HASH_SEED,
        machine=report.machine,
    )


def stored_object(key: str, content: bytes) -> StoredObject:
    """Describe an object with this content."""
    return StoredObject(key=key, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def save_record(session: Session, claimed: Claim, record: RunRecord, now: datetime) -> None:
    """Store the record in the transaction that ends the claimed run."""
    key = {"run_id": claimed.run_id, "attempt": claimed.attempt}
    session.merge(RunRecordRow(**key, outcome=record.outcome, facts=record.facts(), inserted_at=now))


def list_records(session: Session, run_id: str) -> Sequence[RunRecordRow]:
    """Return the records of the run, newest attempt first."""
    query = sa.select(RunRecordRow).where(RunRecordRow.run_id == run_id).order_by(RunRecordRow.attempt.desc())
    return session.scalars(query).all()


def runtime_hashes(runtime: RuntimePaths) -> tuple[str | None, str | None]:
    """Return the SHA-256 of the lock file and of the base interpreter of a built runtime."""
    lock = runtime.packages.parents[2] / LOCK
    return cached_sha256(lock), cached_sha256(Path(runtime.python))


def _runtime(job: Job, folder: str) -> UsedRuntime:
    with job.database.read() as session:
        row = session.scalars(sa.select(Runtime).where(Runtime.folder == folder).limit(1)).one()
    lock: str | None
    interpreter: str | None
    if job.config.backend is None:
        lock, interpreter = runtime_hashes(job.config.find_runtime(folder))
    else:
        # The node builds the runtime from this lock.
        key = lock_key(folder)
        lock, interpreter = object_hashes(job.database, job.storage, key)[key].sha256, None
    return UsedRuntime(
        image=row.image,
        tag=row.tag,
        python=row.python,
        folder=folder,
        lock_sha256=lock,
        interpreter_sha256=interpreter,
    )
