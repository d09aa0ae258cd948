"""The inputs and outputs of a model run."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING

from predictd.domain.failures import ModelFailure
from predictd.domain.limits import Limits
from predictd.domain.reasons import Reason

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class SandboxKind(StrEnum):
    """The isolation of runs."""

    BUBBLEWRAP = "bubblewrap"
    PODMAN = "podman"
    DOCKER = "docker"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class RuntimePaths:
    """Where a built runtime lies on this machine.

    Attributes:
        version: Python version as 'major.minor', for example '3.12'.
        python: the base interpreter's own executable, links resolved.
        prefix: the base interpreter's prefix (sys.base_prefix), for example '/usr'.
        packages: folder of the runtime's packages (its site-packages).
    """

    version: str
    python: Path
    prefix: Path
    packages: Path


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What of a machine may change a model's numbers in their last digits.

    Attributes:
        processor: its name.
        flags: sets of instructions that numerical libraries choose by.
        architecture: for example 'x86_64'.
        kernel: release of the kernel.
        libc: name and version of the C library, which has exp and log.
        threads: number of threads that libraries may use.
    """

    processor: str
    flags: tuple[str, ...]
    architecture: str
    kernel: str
    libc: str
    threads: int


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What one run needs; the files are read-only to it.

    Attributes:
        pickle: the user's file, opened by nobody but the sandbox.
        live: the live features, index `id`: parquet, or mapped (docs/contributors/mapped-data.md).
        benchmarks: the same of the live benchmark models, for models of two arguments.
        runtime: in which Python it runs.
        limits: what it may use.
        slot: number of the worker, 0 to 999; runs of different slots never share a user id.
        imports: modules that the model is known to import, of those that a fork server may have imported.
        proven: whether an earlier run of this pickle in this runtime succeeded, so that its bytes need not be searched
            for versions that would explain a failure.
        trees: whether compiled tables answer for the tree libraries where that gives the same.
        tables: the tables that an earlier run of this pickle handed out, if any.
        keep_tables: whether this run hands out its tables.
        seed: what the model's random numbers start from, 0 to 2**32 - 1; its hashes of strings are the same each time
            then. None makes both new for each run.
    """

    pickle: Path
    live: Path
    benchmarks: Path | None
    runtime: RuntimePaths
    limits: Limits
    slot: int = 0
    imports: tuple[str, ...] = ()
    proven: bool = False
    trees: bool = True
    tables: Path | None = None
    keep_tables: bool = False
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a model answered, unchecked: `values[i]` (float64) is the prediction for `ids[i]`."""

    ids: list[str]
    values: "NDArray[np.float64]"


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """How a run of a user's model ended: with predictions or with a failure, never with both.

    Attributes:
        predictions: what the model answered, None when it failed.
        failure: why the model failed, None when it answered.
        stages: seconds spent per stage, in order: import, unpickle, read, predict, write.
        peak_memory_bytes: the most memory that the run held at once, 0 if unknown.
        tables: a named temporary file of the compiled tables of the model's trees, if asked for and if it has some; for
            runs of this pickle alone. It is removed when nothing refers to it any more.
        imports: modules that the model imported, of those that a fork server may have imported.
        forked: whether it was forked from a fork server.
        machine: where it ran.
    """

    predictions: Predictions | None = None
    failure: ModelFailure | None = None
    stages: dict[str, float] = field(default_factory=dict)
    peak_memory_bytes: int = 0
    tables: "IO[bytes] | None" = None
    imports: tuple[str, ...] = ()
    forked: bool = False
    machine: Machine | None = None

    def outcome(self) -> "Predictions | ModelFailure":
        """What the run ended with; a report of neither is that of a model that answered nothing."""
        if self.failure is None and self.predictions is not None:
            return self.predictions
        return self.failure or ModelFailure(code="bad_output", facts={"detail": "nothing"})

    @property
    def limited_seconds(self) -> float:
        """The seconds that count towards the limit: its clock starts when the runtime's packages are imported."""
        return sum(taken for stage, taken in self.stages.items() if stage != "import")

    def use(self, limits: Limits) -> Reason:
        """Return what the run used of the limits, as a note in its status history."""
        return Reason(
            code="used",
            facts={
                "seconds": self.limited_seconds,
                "limit_seconds": limits.seconds,
                "memory_bytes": self.peak_memory_bytes,
                "limit_memory_bytes": limits.memory_bytes,
                "stages": self.stages,
            },
        )


def describe_stages(stages: dict[str, float]) -> str:
    """'import 0.4 s, unpickle 0.1 s' and so on."""
    return ", ".join(f"{name} {taken:.1f} s" for name, taken in stages.items())
