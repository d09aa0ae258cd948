"""One run of a model: what goes in and what comes out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from predictd.domain.failures import ModelFailure
from predictd.domain.limits import Limits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
class RunRequest:
    """What one run needs; the files are read-only to it.

    Attributes:
        pickle: the user's file, opened by nobody but the sandbox.
        live: parquet of the live features, index `id`.
        benchmarks: parquet of the live benchmark models, for models of two arguments.
        runtime: in which Python it runs.
        limits: what it may use.
        slot: number of the worker, 0 to 999; runs of different slots never share a user id.
    """

    pickle: Path
    live: Path
    benchmarks: Path | None
    runtime: RuntimePaths
    limits: Limits
    slot: int = 0


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
        peak_memory_bytes: the most memory that the run held at once, 0 where it can't be told.
    """

    predictions: Predictions | None = None
    failure: ModelFailure | None = None
    stages: dict[str, float] = field(default_factory=dict)
    peak_memory_bytes: int = 0
