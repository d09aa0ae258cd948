"""Resource groups limit the memory, processors and processes of a run, and measure its memory."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

from predictd.domain.errors import PlatformError
from predictd.domain.limits import Limits
from predictd.sandbox.cgroups import Cgroup, Hierarchy, find_hierarchy, remove_leftovers
from predictd.sandbox.memory_monitor import MonitoredGroup


class ResourceGroup(Protocol):
    """The resources of one run; created before the run starts and closed after its end."""

    @property
    def member_files(self) -> Sequence[str]:
        """Return the files into which a process writes its pid to become a member."""

    @property
    def processors(self) -> list[int] | None:
        """Return the processors to pin the run to, or None if the group limits its share."""

    @property
    def rlimits(self) -> Mapping[str, int]:
        """Return further limits of each process by the name of a resource.RLIMIT_*."""

    @property
    def counts_all_memory(self) -> bool:
        """Return whether memory that no process maps (memory files, System V segments) counts too."""

    def watch(self, pid: int, scratch: Sequence[int] = ()) -> None:
        """Register the process `pid` and its descendants as the run.

        Args:
            pid: the first process of the run.
            scratch: descriptors of its file systems in memory, open until the group is closed; without them the group
                finds them.
        """

    def ran_out_of_memory(self) -> bool:
        """Return whether there is proof that the run reached its memory limit."""

    def peak_bytes(self) -> int:
        """Return the peak of memory so far, or 0 if it is unknown."""

    def close(self) -> None:
        """Kill the remaining members and release the group."""


@cache
def hierarchy() -> Hierarchy | None:
    """Return where this server creates control groups, or None; the first call removes the groups of dead servers."""
    try:
        writable = find_hierarchy(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text())
    except OSError:
        return None
    if writable is not None:
        remove_leftovers(writable)
    return writable


def create_resource_group(limits: Limits, slot: int) -> ResourceGroup:
    """Create the resource group of one run: a control group, or a monitored group if none can be created.

    Raises:
        PlatformError: The control group can't be created.
    """
    groups = hierarchy()
    if groups is None:
        return MonitoredGroup(limits, slot)
    try:
        return Cgroup(groups, limits)
    except OSError as error:
        raise PlatformError(f"The control group of a run can't be created: {error.strerror}.") from error
