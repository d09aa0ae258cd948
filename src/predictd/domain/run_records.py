"""Records of runs, for replay and comparison."""

from dataclasses import asdict, dataclass
from typing import Any

from predictd.domain.limits import Limits
from predictd.domain.runs import Machine, SandboxKind

SUCCESS = "success"


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object of storage by what it holds: `sha256` in hex, of `size_bytes` bytes under `key`."""

    key: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class UsedRuntime:
    """The runtime of a run.

    Attributes:
        image: name on the wire.
        tag: of its content hash.
        python: version as 'major.minor'.
        folder: its name in the folder of the runtimes.
        lock_sha256: of its lock file, None where it was not built on the machine that recorded it.
        interpreter_sha256: of the base interpreter's executable, which the system may replace; None likewise.
    """

    image: str
    tag: str
    python: str
    folder: str
    lock_sha256: str | None
    interpreter_sha256: str | None


@dataclass(frozen=True, kw_only=True)
class Code:
    """Which predictd: its version, and the SHA-256 of its own source files."""

    version: str
    source_sha256: str


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run that ended: what went in, what came out, and what else may matter.

    Attributes:
        run_id: the run, of which this was one attempt.
        attempt: its number, from 1 on.
        outcome: 'success', or the code of the model's failure.
        pickle: the user's file.
        features: the data that the model saw.
        benchmarks: the benchmark models' data, None where the data version has none.
        output: the stored predictions, None where nothing was stored.
        is_validation: whether the data hold targets, which the model did not see.
        runtime: its runtime.
        code: which predictd ran it.
        limits: what it might use.
        sandbox: what isolated it.
        forked: whether it was forked from a fork server; the result is the same.
        trees: whether compiled tables might answer for the tree libraries; the result is the same.
        seed: what `random` and `numpy.random` were seeded with.
        hash_seed: what Python's hashes of strings were seeded with.
        machine: where it ran, None if that is not known.
    """

    run_id: str
    attempt: int
    outcome: str
    pickle: StoredObject
    features: StoredObject
    benchmarks: StoredObject | None
    output: StoredObject | None
    is_validation: bool
    runtime: UsedRuntime
    code: Code
    limits: Limits
    sandbox: SandboxKind
    forked: bool
    trees: bool
    seed: int
    hash_seed: int
    machine: Machine | None

    def facts(self) -> dict[str, Any]:
        """All of it in plain types, as it is stored and printed."""
        return asdict(self)

    @classmethod
    def of(cls, facts: dict[str, Any]) -> "RunRecord":
        """The record with these facts."""
        machine = facts["machine"]
        stored = {
            name: StoredObject(**facts[name]) if facts[name] is not None else None for name in ("benchmarks", "output")
        }
        parts = {
            "pickle": StoredObject(**facts["pickle"]),
            "features": StoredObject(**facts["features"]),
            "runtime": UsedRuntime(**facts["runtime"]),
            "code": Code(**facts["code"]),
            "limits": Limits(**facts["limits"]),
            "sandbox": SandboxKind(facts["sandbox"]),
            "machine": Machine(**{**machine, "flags": tuple(machine["flags"])}) if machine is not None else None,
        }
        return cls(**{**facts, **stored, **parts})
