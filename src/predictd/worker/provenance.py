"""The record of a run: written in the transaction that ends it, read to show it or to run it again."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Runtime
from predictd.db.run_tables import Recorded
from predictd.domain.limits import Limits
from predictd.domain.records import SUCCESS, RunRecord, StoredObject, UsedRuntime
from predictd.domain.runs import RunReport, RuntimePaths
from predictd.jobs.queue import Claim
from predictd.runtimes.build import LOCK
from predictd.sandbox.command import HASH_SEED
from predictd.worker.config import Job
from predictd.worker.execution import PickleRun, lock_key, seed_of
from predictd.worker.hashes import hashed, sha256_once, this_code


def record_of(job: Job, wanted: PickleRun, report: RunReport, limits: Limits) -> RunRecord:
    """What is known of a run when it has ended; what becomes of its predictions is not told yet.

    Raises:
        PlatformError: what the run used is gone from storage.
    """
    storage, config, claimed = job.storage, job.config, job.claimed
    keys = [wanted.pickle_key, wanted.features_key]
    if storage.stat(wanted.benchmarks_key) is not None:
        keys.append(wanted.benchmarks_key)
    objects = hashed(job.database, storage, *keys)
    return RunRecord(
        trigger_id=claimed.trigger_id,
        attempt=claimed.attempt,
        outcome=report.failure.code if report.failure is not None else SUCCESS,
        pickle=objects[wanted.pickle_key],
        features=objects[wanted.features_key],
        benchmarks=objects.get(wanted.benchmarks_key),
        output=None,
        is_validation=wanted.is_validation,
        runtime=_runtime(job, wanted.runtime_folder),
        code=this_code(),
        limits=limits,
        sandbox=config.kind,
        forked=report.forked,
        trees=config.trees,
        seed=seed_of(claimed),
        hash_seed=HASH_SEED,
        machine=report.machine,
    )


def stored(key: str, content: bytes) -> StoredObject:
    """An object that was stored from these bytes."""
    return StoredObject(key=key, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def keep_record(session: Session, claimed: Claim, record: RunRecord, now: datetime) -> None:
    """Write the record, in the transaction that ends the claimed trigger."""
    key = {"trigger_id": claimed.trigger_id, "attempt": claimed.attempt}
    session.merge(Recorded(**key, outcome=record.outcome, facts=record.facts(), inserted_at=now))


def records_of(session: Session, trigger_id: str) -> Sequence[Recorded]:
    """Those of the trigger's attempts that ended, newest first."""
    found = sa.select(Recorded).where(Recorded.trigger_id == trigger_id).order_by(Recorded.attempt.desc())
    return session.scalars(found).all()


def files_of(runtime: RuntimePaths) -> tuple[str | None, str | None]:
    """SHA-256 of a built runtime's lock and of its base interpreter."""
    lock = runtime.packages.parents[2] / LOCK
    return sha256_once(lock), sha256_once(Path(runtime.python))


def _runtime(job: Job, folder: str) -> UsedRuntime:
    with job.database.read() as session:
        row = session.scalars(sa.select(Runtime).where(Runtime.folder == folder).limit(1)).one()
    lock: str | None
    interpreter: str | None
    if job.config.place is None:
        lock, interpreter = files_of(job.config.find_runtime(folder))
    else:
        # It is built on the node, which was given this lock.
        key = lock_key(folder)
        lock, interpreter = hashed(job.database, job.storage, key)[key].sha256, None
    return UsedRuntime(
        image=row.image,
        tag=row.tag,
        python=row.python,
        folder=folder,
        lock_sha256=lock,
        interpreter_sha256=interpreter,
    )
