"""Memory of a run where there is no control group: its processes are measured twenty times a second."""

import contextlib
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from predictd.domain.limits import Limits
from predictd.sandbox.groups import share_of_processors

_SECONDS = 0.05
_PAGE = os.sysconf("SC_PAGE_SIZE")


class WatchedGroup:
    """Kills the run's first process once all of them together hold more than the limit.

    Files in the scratch that nothing maps are not counted; the size of the scratch bounds them.
    """

    joins: Sequence[str] = ()

    def __init__(self, limits: Limits, slot: int) -> None:
        self.processors = share_of_processors(limits, slot)
        self._limit = limits.memory_bytes
        self._peak = 0
        self._exceeded = False
        self._root: int | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._measure, name="predictd-memory", daemon=True)

    def watch(self, pid: int) -> None:
        """See ResourceGroup."""
        self._root = pid
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

    def _measure(self) -> None:
        assert self._root is not None
        while not self._stop.wait(_SECONDS):
            pids = descendants(self._root)
            held = sum(_resident(pid) for pid in pids)
            if held > self._limit:
                # Pages that forked processes share were counted for each of them.
                held = sum(_proportional(pid) for pid in pids)
            self._peak = max(self._peak, held)
            if held > self._limit:
                self._exceeded = True
                for pid in reversed(pids):
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
                return


def descendants(root: int) -> list[int]:
    """The process `root` and all that descends from it, parents first."""
    found = [root]
    for pid in found:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in children.read_text().split()]
    return found


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return _resident(pid)
