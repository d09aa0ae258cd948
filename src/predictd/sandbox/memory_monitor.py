"""Memory of a run where there is no control group: its processes are measured twenty times a second."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from predictd.domain.limits import Limits
from predictd.sandbox.resource_group import share_of_processors

log = logging.getLogger(__name__)

_SECONDS = 0.05
# What an empty file takes of the kernel's memory.
_INODE_BYTES = 1024
SCRATCHES = ("/tmp", "/dev/shm")  # noqa: S108
# Libraries reserve more than they use; RLIMIT_AS, which counts all that is reserved, makes some of them hang.
_VIRTUAL_SHARE = 2
# What reading of a process raises that has ended meanwhile. Whatever else it raises is no measurement.
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
# What waits to be read from a socket: the kernel's default, and the filter refuses to raise it.
_SOCKET_BYTES = 212_992
_EPOLL = "anon_inode:[eventpoll]"
# What a file that an epoll watches takes of the kernel's memory.
_WATCH_BYTES = 160
# All that a user's processes watch, the server's among them, has a limit, of which a run gets this share.
_WATCHES = Path("/proc/sys/fs/epoll/max_user_watches")
_WATCHES_SHARE = 4
_PAGE = os.sysconf("SC_PAGE_SIZE")


class WatchedGroup:
    """Kills the run once its processes, the files in its scratch and what the kernel holds for it exceed the limit.

    A file of the scratch that is mapped counts twice. What grows faster than the samples can see is bounded for each
    process by RLIMIT_DATA.
    """

    joins: Sequence[str] = ()
    counts_all_memory = False

    def __init__(self, limits: Limits, slot: int) -> None:
        self.processors = share_of_processors(limits, slot)
        self.rlimits = {"RLIMIT_DATA": _VIRTUAL_SHARE * limits.memory_bytes}
        self._limit = limits.memory_bytes
        self._watch_bytes = max(_WATCH_BYTES, _WATCHES_SHARE * limits.memory_bytes // int(_WATCHES.read_text()))
        self._scratch_size = limits.scratch_bytes
        self._peak = 0
        self._exceeded = False
        self._root: int | None = None
        self._scratch: Sequence[int] = ()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="predictd-memory", daemon=True)

    def watch(self, pid: int, scratch: Sequence[int] = ()) -> None:
        """See ResourceGroup."""
        self._root = pid
        self._scratch = scratch
        self._thread.start()

    def ran_out_of_memory(self) -> bool:
        """See ResourceGroup."""
        return self._exceeded

    def peak_bytes(self) -> int:
        """See ResourceGroup; the highest of the samples."""
        return self._peak

    def close(self) -> None:
        """See ResourceGroup; the pid namespace or the launcher kills what is left."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _watch(self) -> None:
        """Measure until the end. A run that can't be measured has no limit, so it is ended as if from outside."""
        assert self._root is not None
        try:
            while not self._measure(self._root) and not self._stop.wait(_SECONDS):
                pass
        except Exception:
            log.exception("the memory of a run can't be measured")
            _kill(self._root)

    def _measure(self, root: int) -> bool:
        """Whether the run was killed, because it holds more than its limit."""
        pids = descendants(root)
        others = self._files(pids) + _kernels(pids, self._watch_bytes, self._limit)
        held = others + sum(_resident(pid) for pid in pids)
        if held > self._limit:
            # Pages that forked processes share were counted for each of them.
            held = others + sum(_proportional(pid) for pid in pids)
        self._peak = max(self._peak, held)
        if held <= self._limit:
            return False
        self._exceeded = True
        for pid in reversed(pids):
            _kill(pid)
        return True

    def _files(self, pids: list[int]) -> int:
        """Bytes of the files in the sandbox's scratch and shared memory; 0 while it is not set up, or where none is."""
        used = 0
        for descriptor in self._scratch:
            used += _size(os.fstatvfs(descriptor))
        if self._scratch:
            return used
        for folder in SCRATCHES:
            # The second process is the first one inside, of which no model can change the root.
            for pid in pids[1:2]:
                with contextlib.suppress(OSError):
                    seen = os.statvfs(f"/proc/{pid}/root{folder}")
                    size = seen.f_blocks * seen.f_frsize
                    if seen.f_fsid != os.statvfs(folder).f_fsid and size <= self._scratch_size + _PAGE:
                        used += _size(seen)
        return used


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _size(seen: os.statvfs_result) -> int:
    """Bytes that a filesystem in memory takes."""
    return (seen.f_blocks - seen.f_bfree) * seen.f_frsize + (seen.f_files - seen.f_ffree) * _INODE_BYTES


def descendants(root: int) -> list[int]:
    """The process `root` and all that descends from it, parents first."""
    found = [root]
    for pid in found:
        with contextlib.suppress(*_GONE):
            for task in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(*_GONE):
                    children = Path(f"/proc/{pid}/task/{task}/children").read_text()
                    found += [int(child) for child in children.split()]
    return found


def _kernels(pids: list[int], watch_bytes: int, most: int) -> int:
    """What the processes take beside what is resident: page tables, swap, buffers of sockets, and what epolls watch."""
    used = 0
    sockets: set[str] = set()
    for pid in pids:
        with contextlib.suppress(*_GONE):
            # Bytes, because a process chooses its name, which need not be text.
            for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
                if line.startswith((b"VmPTE:", b"VmSwap:")):
                    used += int(line.split()[1]) * 1024
            for number, target in _open_files(pid):
                if target.startswith("socket:"):
                    sockets.add(target)
                if target == _EPOLL and used < most:
                    used += watch_bytes * _watches(pid, number, (most - used) // watch_bytes)
    return used + _SOCKET_BYTES * len(sockets)


def _open_files(pid: int) -> Iterator[tuple[str, str]]:
    """Descriptor and target of each file that a process has open."""
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        with contextlib.suppress(*_GONE):
            yield name, os.readlink(f"{folder}/{name}")


def _watches(pid: int, descriptor: str, most: int) -> int:
    """How many files an epoll watches; counts to a little more than `most`."""
    count = 0
    with contextlib.suppress(*_GONE), open(f"/proc/{pid}/fdinfo/{descriptor}", encoding="ascii") as file:
        for line in file:
            count += line.startswith("tfd:")
            if count > most:
                break
    return count


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (*_GONE, IndexError):
        return 0


def _proportional(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except _GONE:
        pass
    return _resident(pid)
