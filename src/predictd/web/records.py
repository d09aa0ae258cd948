"""The record of a run as a list of facts for its page."""

from sqlalchemy.orm import Session

from predictd.domain.limits import MIB
from predictd.domain.records import RunRecord
from predictd.worker.provenance import records_of


def record_facts(session: Session, trigger_id: str) -> list[tuple[str, str]]:
    """Name and value of what the newest attempt that ended keeps; empty where none has ended."""
    rows = records_of(session, trigger_id)
    if not rows:
        return []
    record = RunRecord.of(rows[0].facts)
    runtime, limits, machine = record.runtime, record.limits, record.machine
    objects = [("Pickle", record.pickle), ("Features", record.features), ("Benchmark models", record.benchmarks)]
    facts = [(name, one.sha256) for name, one in [*objects, ("Predictions", record.output)] if one is not None]
    facts.append(("Runtime", f"{runtime.image}:{runtime.tag}"))
    facts += [("Lock file", runtime.lock_sha256)] if runtime.lock_sha256 else []
    facts.append(("predictd", f"{record.code.version}, source {record.code.source_sha256}"))
    memory = f"{limits.memory_bytes // MIB} MiB"
    facts.append(("Limits", f"{limits.seconds:g} s, {memory}, {limits.cpus:g} CPU, {record.sandbox.value}"))
    facts.append(("Seeds", f"random and numpy.random {record.seed}, hashes {record.hash_seed}"))
    if machine is not None:
        facts.append(("Machine", f"{machine.processor}, {machine.architecture}, {machine.libc}"))
    return facts
