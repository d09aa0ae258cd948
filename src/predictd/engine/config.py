"""What every run of a server shares."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from predictd.data.mapped_cache import MappedCache
from predictd.domain.limits import Limits
from predictd.domain.runs import RuntimePaths, SandboxKind
from predictd.sandbox import WarmParents


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """What every run of this server shares.

    Attributes:
        limits: of a run for a round or a validation.
        diagnostics_limits: of a run on the validation data.
        kind: what isolates runs.
        max_attempts: how often a run is tried when the platform fails.
        retry_seconds: wait before the first retry; doubles with each.
        parents: what runs are forked from, if they are.
        trees: whether compiled tables answer for the tree libraries.
        mapped: where data files are kept in the form that runs map.
        factors: folder of what neutralising to the features takes, kept per data version.
        find_runtime: where the runtime in a folder lies on this machine; raises PlatformError.
    """

    limits: Limits
    diagnostics_limits: Limits
    kind: SandboxKind
    max_attempts: int
    retry_seconds: float
    parents: WarmParents | None
    trees: bool
    mapped: MappedCache
    factors: Path
    find_runtime: Callable[[str], RuntimePaths]
