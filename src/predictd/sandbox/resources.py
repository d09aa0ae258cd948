"""Which resource group a run gets on this machine."""

from functools import cache
from pathlib import Path

from predictd.domain.errors import PlatformError
from predictd.domain.limits import Limits
from predictd.sandbox.cgroups import Cgroup, Hierarchy, find_hierarchy, remove_leftovers
from predictd.sandbox.memory_monitor import WatchedGroup
from predictd.sandbox.resource_group import ResourceGroup


@cache
def hierarchy() -> Hierarchy | None:
    """Where this server makes control groups, None if nowhere; found once, and cleaned of dead servers' groups."""
    try:
        found = find_hierarchy(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text())
    except OSError:
        return None
    if found is not None:
        remove_leftovers(found)
    return found


def resource_group(limits: Limits, slot: int) -> ResourceGroup:
    """The resources of one run, by the best that this machine has.

    Raises:
        PlatformError: the control group can't be made.
    """
    found = hierarchy()
    if found is None:
        return WatchedGroup(limits, slot)
    try:
        return Cgroup(found, limits)
    except OSError as error:
        raise PlatformError(f"The control group of a run can't be made: {error.strerror}.") from error
