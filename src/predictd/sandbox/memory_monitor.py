"""Limit the memory of a run without a control group: measure its processes twenty times a second."""

import contextlib
import logging
import math
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from predictd.domain.limits import Limits

log = logging.getLogger(__name__)

_INTERVAL_SECONDS = 0.05
# Kernel memory of an empty file.
_INODE_BYTES = 1024
SCRATCHES = ("/tmp", "/dev/shm")  # noqa: S108
# Libraries reserve more than they use; RLIMIT_AS, which counts all that is reserved, makes some of them hang.
_VIRTUAL_SHARE = 2
# Raised when a process ends while it is being read. Any other error means that it can't be measured.
_ENDED_ERRORS = (FileNotFoundError, ProcessLookupError, PermissionError)
# The kernel's default for the buffer of a socket, which the filter of system calls forbids to raise.
_SOCKET_BYTES = 212_992
_EPOLL = "anon_inode:[eventpoll]"
# Kernel memory of a file that an epoll watches.
_WATCH_BYTES = 160
# The watches of all processes of a user, including the server's, have a limit. A run gets this fraction of it.
_WATCHES = Path("/proc/sys/fs/epoll/max_user_watches")
_WATCHES_SHARE = 4
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class MonitoredGroup:
    """Kills the run when its processes, its files in memory and its kernel memory exceed the limit.

    A mapped file of the scratch counts twice. Growth between two samples is limited for each process by RLIMIT_DATA.

    """

    member_files: Sequence[str] = ()
    counts_all_memory = False

    def __init__(self, limits: Limits, slot: int) -> None:
        self.processors = _share_of_processors(limits, slot)
        self.rlimits = {"RLIMIT_DATA": _VIRTUAL_SHARE * limits.memory_bytes}
        self._limit = limits.memory_bytes
        self._watch_bytes = max(_WATCH_BYTES, _WATCHES_SHARE * limits.memory_bytes // int(_WATCHES.read_text()))
        self._scratch_size = limits.scratch_bytes
        self._peak = 0
        self._exceeded = False
        self._root: int | None = None
        self._scratch: Sequence[int] = ()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._monitor, name="predictd-memory", daemon=True)

    def watch(self, pid: int, scratch: Sequence[int] = ()) -> None:
        """See ResourceGroup."""
        self._root = pid
        self._scratch = scratch
        self._thread.start()

    def ran_out_of_memory(self) -> bool:
        """See ResourceGroup."""
        return self._exceeded

    def peak_bytes(self) -> int:
        """See ResourceGroup; the maximum of the samples."""
        return self._peak

    def close(self) -> None:
        """See ResourceGroup; the pid namespace or the launcher kills the remaining processes."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _monitor(self) -> None:
        """Measure until the end; kill a run that can't be measured, because it would have no limit."""
        assert self._root is not None
        try:
            while not self._enforce(self._root) and not self._stop.wait(_INTERVAL_SECONDS):
                pass
        except Exception:
            log.exception("the memory of a run can't be measured")
            _kill(self._root)

    def _enforce(self, root: int) -> bool:
        """Kill the run if it exceeds its limit, and return whether it did."""
        pids = descendants(root)
        other_bytes = self._file_bytes(pids) + _kernel_bytes(pids, self._watch_bytes, self._limit)
        total = other_bytes + sum(_resident_bytes(pid) for pid in pids)
        if total > self._limit:
            # Pages that forked processes share were counted for each process.
            total = other_bytes + sum(_proportional_bytes(pid) for pid in pids)
        self._peak = max(self._peak, total)
        if total <= self._limit:
            return False
        self._exceeded = True
        for pid in reversed(pids):
            _kill(pid)
        return True

    def _file_bytes(self, pids: list[int]) -> int:
        """Return the bytes of files in the sandbox's scratch and shared memory; 0 if there is no sandbox (yet)."""
        used = 0
        for descriptor in self._scratch:
            used += _used_bytes(os.fstatvfs(descriptor))
        if self._scratch:
            return used
        for folder in SCRATCHES:
            # The second process is the first one inside, whose root no model can change.
            for pid in pids[1:2]:
                with contextlib.suppress(OSError):
                    status = os.statvfs(f"/proc/{pid}/root{folder}")
                    size = status.f_blocks * status.f_frsize
                    if status.f_fsid != os.statvfs(folder).f_fsid and size <= self._scratch_size + _PAGE_BYTES:
                        used += _used_bytes(status)
        return used


def _share_of_processors(limits: Limits, slot: int) -> list[int]:
    """Return the processors to pin a run without a cgroup to: as many as it may use, a different set for each slot."""
    usable = sorted(os.sched_getaffinity(0))
    count = min(math.ceil(limits.cpus), len(usable))
    return sorted(usable[(slot * count + i) % len(usable)] for i in range(count))


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _used_bytes(status: os.statvfs_result) -> int:
    """Return the bytes that a file system in memory uses."""
    return (status.f_blocks - status.f_bfree) * status.f_frsize + (status.f_files - status.f_ffree) * _INODE_BYTES


def descendants(root: int) -> list[int]:
    """Return the pids of `root` and all of its descendants, parents first."""
    pids = [root]
    for pid in pids:
        with contextlib.suppress(*_ENDED_ERRORS):
            for task in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(*_ENDED_ERRORS):
                    children = Path(f"/proc/{pid}/task/{task}/children").read_text()
                    pids += [int(child) for child in children.split()]
    return pids


def _kernel_bytes(pids: list[int], watch_bytes: int, max_bytes: int) -> int:
    """Return the memory of the processes that is not resident: page tables, swap, socket buffers, epoll watches."""
    used = 0
    sockets: set[str] = set()
    for pid in pids:
        with contextlib.suppress(*_ENDED_ERRORS):
            # Bytes, because a process chooses its own name, which may be invalid UTF-8.
            for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
                if line.startswith((b"VmPTE:", b"VmSwap:")):
                    used += int(line.split()[1]) * 1024
            for number, target in _open_files(pid):
                if target.startswith("socket:"):
                    sockets.add(target)
                if target == _EPOLL and used < max_bytes:
                    used += watch_bytes * _count_watches(pid, number, (max_bytes - used) // watch_bytes)
    return used + _SOCKET_BYTES * len(sockets)


def _open_files(pid: int) -> Iterator[tuple[str, str]]:
    """Yield the descriptor and the target of each open file of a process."""
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        with contextlib.suppress(*_ENDED_ERRORS):
            yield name, os.readlink(f"{folder}/{name}")


def _count_watches(pid: int, descriptor: str, max_count: int) -> int:
    """Return the number of files that an epoll watches; stop counting above `max_count`."""
    count = 0
    with contextlib.suppress(*_ENDED_ERRORS), open(f"/proc/{pid}/fdinfo/{descriptor}", encoding="ascii") as file:
        for line in file:
            count += line.startswith("tfd:")
            if count > max_count:
                break
    return count


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (*_ENDED_ERRORS, IndexError):
        return 0


def _proportional_bytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except _ENDED_ERRORS:
        pass
    return _resident_bytes(pid)
