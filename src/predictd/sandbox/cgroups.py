"""Control groups: the kernel's own accounting, and the only proof that a run ran out of memory.

Groups are created below the server's own group, so a run never has more resources than the server.
"""

import contextlib
import os
import secrets
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from predictd.domain.limits import Limits

_PREFIX = "predictd-"
_PERIOD_US = 100_000
# bubblewrap's own processes: the one outside, the first one inside, and the launcher before it.
_OWN_PROCESSES = 4
_CLOSE_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Hierarchy:
    """Where groups can be created: for v1 a folder each for memory, pids and (if available) cpu; for v2 one folder."""

    version: Literal["v1", "v2"]
    folders: Mapping[str, Path]


def find_hierarchy(own: str, mounts: str) -> Hierarchy | None:
    """Return where this process may create groups, or None.

    Args:
        own: text of /proc/self/cgroup.
        mounts: text of /proc/self/mountinfo.
    """
    paths = {names: path for _, names, path in (line.split(":", 2) for line in own.splitlines())}
    v1: dict[str, Path] = {}
    v2: Path | None = None
    for line in mounts.splitlines():
        mount, _, rest = line.partition(" - ")
        root, mount_point = mount.split()[3:5]
        kind, _, options = rest.split(maxsplit=2)
        if kind == "cgroup2":
            v2 = _own_folder(Path(mount_point), root, paths.get("", "/"))
        elif kind == "cgroup":
            for names, path in paths.items():
                for controller in {"memory", "pids", "cpu"} & set(names.split(",")) & set(options.split(",")):
                    v1[controller] = _own_folder(Path(mount_point), root, path)
    writable = {name: folder for name, folder in v1.items() if os.access(folder, os.W_OK)}
    if {"memory", "pids"} <= writable.keys():
        return Hierarchy(version="v1", folders=writable)
    if v2 is not None and os.access(v2, os.W_OK):
        controllers = (v2 / "cgroup.controllers").read_text().split()
        if {"memory", "pids"} <= set(controllers) and _delegate(v2, controllers):
            return Hierarchy(version="v2", folders={"": v2})
    return None


def remove_leftovers(hierarchy: Hierarchy) -> None:
    """Remove the groups of dead servers and kill the processes in them."""
    for folder in hierarchy.folders.values():
        for group in folder.glob(f"{_PREFIX}*-*"):
            owner = group.name.split("-")[1]
            if owner.isdecimal() and not Path(f"/proc/{owner}").exists():
                _remove(group)


class Cgroup:
    """The control group of one run.

    Raises:
        OSError: The group can't be created or its limits can't be set.
    """

    processors = None
    rlimits: Mapping[str, int] = {}
    counts_all_memory = True

    def __init__(self, hierarchy: Hierarchy, limits: Limits) -> None:
        name = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(6)}"
        self._v1 = hierarchy.version == "v1"
        self._folders = {controller: folder / name for controller, folder in hierarchy.folders.items()}
        self._memory = self._folders["memory" if self._v1 else ""]
        try:
            for folder in self._folders.values():
                folder.mkdir()
            (self._limit_v1 if self._v1 else self._limit_v2)(limits)
        except OSError:
            self.close()
            raise

    @property
    def member_files(self) -> Sequence[str]:
        """See ResourceGroup."""
        return [str(folder / "cgroup.procs") for folder in self._folders.values()]

    def watch(self, pid: int, scratch: Sequence[int] = ()) -> None:
        """See ResourceGroup; the kernel tracks the members."""

    def ran_out_of_memory(self) -> bool:
        """See ResourceGroup."""
        name = "memory.oom_control" if self._v1 else "memory.events"
        try:
            lines = (self._memory / name).read_text().splitlines()
        except OSError:
            return False
        return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in lines)

    def peak_bytes(self) -> int:
        """See ResourceGroup; includes the page cache of files that the run read first."""
        name = "memory.max_usage_in_bytes" if self._v1 else "memory.peak"
        try:
            return int((self._memory / name).read_text())
        except (OSError, ValueError):
            return 0

    def close(self) -> None:
        """See ResourceGroup; waits at most 10 seconds per hierarchy for the members to exit."""
        for folder in self._folders.values():
            _remove(folder)

    def _limit_v1(self, limits: Limits) -> None:
        (self._memory / "memory.limit_in_bytes").write_text(str(limits.memory_bytes))
        (self._memory / "memory.swappiness").write_text("0")
        with_swap = self._memory / "memory.memsw.limit_in_bytes"
        if with_swap.exists():
            with_swap.write_text(str(limits.memory_bytes))
        (self._folders["pids"] / "pids.max").write_text(str(limits.processes + _OWN_PROCESSES))
        if "cpu" in self._folders:
            (self._folders["cpu"] / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            with contextlib.suppress(OSError):  # exceeds the quota of the server
                (self._folders["cpu"] / "cpu.cfs_quota_us").write_text(str(int(limits.cpus * _PERIOD_US)))

    def _limit_v2(self, limits: Limits) -> None:
        (self._memory / "memory.max").write_text(str(limits.memory_bytes))
        for name, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
            if (self._memory / name).exists():
                (self._memory / name).write_text(value)
        (self._memory / "pids.max").write_text(str(limits.processes + _OWN_PROCESSES))
        if (self._memory / "cpu.max").exists():
            (self._memory / "cpu.max").write_text(f"{int(limits.cpus * _PERIOD_US)} {_PERIOD_US}")


def _own_folder(mount_point: Path, root: str, path: str) -> Path:
    """Return the folder of this process's group, or the mount point if a container hides the levels above."""
    relative_path = os.path.relpath(path, root)
    folder = mount_point if relative_path.startswith("..") else mount_point / relative_path
    return folder if folder.is_dir() else mount_point


def _delegate(folder: Path, controllers: list[str]) -> bool:
    """Delegate the controllers to groups below `folder`, which v2 allows only if no process is a direct member.

    If the server is the only member, it is moved into a group below.
    """
    subtree_control = folder / "cgroup.subtree_control"
    controllers_to_enable = " ".join(f"+{name}" for name in ("memory", "pids", "cpu") if name in controllers)
    try:
        if {"memory", "pids"} <= set(subtree_control.read_text().split()):
            return True
        members = (folder / "cgroup.procs").read_text().split()
        if members == [str(os.getpid())]:
            own = folder / "predictd"
            own.mkdir(exist_ok=True)
            (own / "cgroup.procs").write_text(members[0])
        subtree_control.write_text(controllers_to_enable)
    except OSError:
        return False
    return True


def _remove(folder: Path) -> None:
    """Kill the members of a group until none is left, then remove it; give up after 10 seconds."""
    deadline = time.monotonic() + _CLOSE_SECONDS
    while folder.exists() and time.monotonic() < deadline:
        _kill_members(folder)
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.005)


def _kill_members(folder: Path) -> None:
    with contextlib.suppress(OSError):
        if (folder / "cgroup.kill").exists():
            (folder / "cgroup.kill").write_text("1")
            return
        for pid in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
