"""Run records: the inputs, environment, and output of a run."""

from typing import Any

from ariadne import MutationType, QueryType

from predictd.api.graphql.resolvers.objects import Info, Object, context_of
from predictd.api.graphql.resolvers.pickles import READ, own_run
from predictd.db.run_tables import RunRecordRow
from predictd.domain.run_records import RunRecord
from predictd.worker.provenance import list_records

query = QueryType()
mutation = MutationType()


def record_object(row: RunRecordRow) -> Object:
    """Return the type RunRecord, without storage keys."""
    record = RunRecord.of(row.facts)
    limits, machine = record.limits, record.machine
    return {
        "triggerId": record.run_id,
        "attempt": record.attempt,
        "outcome": record.outcome,
        "insertedAt": row.inserted_at,
        "pickleSha256": record.pickle.sha256,
        "featuresSha256": record.features.sha256,
        "benchmarksSha256": record.benchmarks.sha256 if record.benchmarks is not None else None,
        "outputSha256": record.output.sha256 if record.output is not None else None,
        "runtime": f"{record.runtime.image}:{record.runtime.tag}",
        "python": record.runtime.python,
        "runtimeLockSha256": record.runtime.lock_sha256,
        "interpreterSha256": record.runtime.interpreter_sha256,
        "version": record.code.version,
        "sourceSha256": record.code.source_sha256,
        "sandbox": record.sandbox.value,
        "forked": record.forked,
        "trees": record.trees,
        "seed": record.seed,
        "hashSeed": record.hash_seed,
        "cpus": limits.cpus,
        "memoryBytes": limits.memory_bytes,
        "seconds": limits.seconds,
        "processes": limits.processes,
        "scratchBytes": limits.scratch_bytes,
        "outputBytes": limits.output_bytes,
        "processor": machine.processor if machine is not None else None,
        "processorFlags": list(machine.flags) if machine is not None else None,
        "architecture": machine.architecture if machine is not None else None,
        "kernel": machine.kernel if machine is not None else None,
        "libc": machine.libc if machine is not None else None,
        "threads": machine.threads if machine is not None else None,
    }


@query.field("runRecord")
def resolve_record(_: Any, info: Info, triggerId: str, attempt: int | None = None) -> Object | None:
    """Return the record of the latest attempt that ended, or of the given one; null if there is none."""
    context = context_of(info)
    run = own_run(context, context.account(*READ), triggerId)
    rows = list_records(context.session, run.id)
    return next((record_object(row) for row in rows if attempt in (None, row.attempt)), None)
