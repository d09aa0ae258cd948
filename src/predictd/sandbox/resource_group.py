"""What holds a run to its memory, processors and processes, and tells what it took."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Protocol

from predictd.domain.limits import Limits


class ResourceGroup(Protocol):
    """One run's resources; made before the run starts, closed after it ended."""

    @property
    def joins(self) -> Sequence[str]:
        """Files into which a process writes its pid to become a member."""

    @property
    def processors(self) -> list[int] | None:
        """Processors to stay on, None where the group itself limits the share."""

    @property
    def rlimits(self) -> Mapping[str, int]:
        """Further limits (names of resource.RLIMIT_*) of each process."""

    @property
    def counts_all_memory(self) -> bool:
        """Whether memory that no process maps (memory files, System V segments) counts too."""

    def watch(self, pid: int, scratch: Sequence[int] = ()) -> None:
        """Say that the process `pid` and all that descends from it are the run.

        Args:
            scratch: descriptors of its filesystems in memory, which stay open until the group is closed; without them
                they are looked for.
        """

    def ran_out_of_memory(self) -> bool:
        """Whether there is proof that the run met its memory limit."""

    def peak_bytes(self) -> int:
        """The most memory held at once so far, 0 where it can't be told."""

    def close(self) -> None:
        """Kill every member that is left and release the group."""


def share_of_processors(limits: Limits, slot: int) -> list[int]:
    """Which processors a run without a cgroup stays on: as many as it may use, another set for each slot."""
    usable = sorted(os.sched_getaffinity(0))
    count = min(math.ceil(limits.cpus), len(usable))
    return sorted(usable[(slot * count + i) % len(usable)] for i in range(count))
