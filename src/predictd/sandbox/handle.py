"""A run that was started, by whichever way it was, and how all of it is killed."""

import contextlib
import json
import logging
import os
import resource
import selectors
import signal
import subprocess
from pathlib import Path
from typing import Protocol

from predictd.domain.errors import PlatformError
from predictd.sandbox.memory_monitor import descendants

log = logging.getLogger(__name__)

_DEATH_SECONDS = 10.0
_STATUS_BYTES = 64 * 1024


class RunLost(PlatformError):
    """What held the run was killed from outside of it."""


class Launched(Protocol):
    """A run under way.

    Attributes:
        answer: descriptor of the runner's frames, to read.
        log: descriptor of what the model prints, to read.
        ended: descriptor that becomes readable when the run has ended.
    """

    answer: int
    log: int
    ended: int

    def exit_code(self) -> int:
        """How a run that has ended did: its exit code, or 128 and the number of its signal.

        Raises:
            RunLost: something was killed that the run itself can't reach.
        """

    def started(self) -> None:
        """Called once when the runner has said its first word, before anything of the user's is loaded."""

    def kill(self) -> None:
        """Kill all of the run; on return none of its processes runs, and their numbers mean no others yet."""

    def release(self) -> None:
        """Collect what is left of the dead processes; after `kill`, and after the group was closed."""


class ProcessRun:
    """A run that ends as a process of this server's does."""

    def __init__(self, process: "subprocess.Popen[bytes]", answer: int, log: int) -> None:
        self.process = process
        self.answer = answer
        self.log = log
        self.ended = os.pidfd_open(process.pid)

    def exit_code(self) -> int:
        """See Launched; leaves the process to be waited for."""
        status = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        assert status is not None
        return status.si_status if status.si_code == os.CLD_EXITED else 128 + status.si_status

    def started(self) -> None:
        """See Launched."""

    def release(self) -> None:
        """See Launched."""
        os.close(self.ended)
        self.process.wait()


class PlainRun(ProcessRun):
    """A run without isolation: the launcher kills what it started before it ends."""

    def kill(self) -> None:
        """See Launched."""
        # Not Popen's own methods: they wait for a process that has ended, and free its pid.
        os.kill(self.process.pid, signal.SIGTERM)
        wait_for(self.process.pid)
        os.kill(self.process.pid, signal.SIGKILL)


class BubblewrapRun(ProcessRun):
    """A run in bubblewrap, which tells the pid of the first process inside on `status`."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", answer: int, log: int, status: int, processes: int | None
    ) -> None:
        super().__init__(process, answer, log)
        self._status = status
        self._processes = processes
        self._told = b""
        self._pid_inside: int | None = None

    def exit_code(self) -> int:
        """See Launched; bubblewrap, which no run can reach, tells how the runner ended."""
        status = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        assert status is not None
        if status.si_code != os.CLD_EXITED:
            raise RunLost("The sandbox of the run was killed from outside.")
        return status.si_status

    def started(self) -> None:
        """See Launched; limits the first process inside like the runner, because a model could take it over."""
        if self._processes is not None:
            with contextlib.suppress(OSError, ValueError, KeyError):
                pid = self._read_pid()
                resource.prlimit(pid, resource.RLIMIT_NPROC, (self._processes, self._processes))

    def kill(self) -> None:
        """See Launched; from the inside out, so that bubblewrap collects what dies and leaves no orphans."""
        first = self._first_inside()
        if first is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(first, signal.SIGKILL)
            # The first process of a pid namespace dies only after all others in it have.
            if not is_readable(first, _DEATH_SECONDS) or not wait_for(self.process.pid):
                log.error("processes of a run outlived SIGKILL")
            os.close(first)
        else:
            self._kill_before_the_inside()
        os.kill(self.process.pid, signal.SIGKILL)

    def _kill_before_the_inside(self) -> None:
        """It has ended, or not set itself up yet: then there is at most its child, which would not die with it."""
        children = descendants(self.process.pid)[1:]
        for pid in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if children:
            wait_for(self.process.pid, 1.0)

    def _first_inside(self) -> int | None:
        """pidfd of the first process inside; None when there is none (any more)."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            pid = self._read_pid()
            descriptor = os.pidfd_open(pid)
            if _parent(pid) == self.process.pid:
                return descriptor
            os.close(descriptor)  # the number means another process by now
        return None

    def _read_pid(self) -> int:
        """Raises OSError or ValueError where bubblewrap has not told it, as a whole, yet."""
        if self._pid_inside is None:
            os.set_blocking(self._status, False)
            self._told += os.read(self._status, _STATUS_BYTES)
            # One JSON object a line; the one with the pid is the first.
            first, ended, _ = self._told.partition(b"\n")
            if not ended:
                raise ValueError("not told yet")
            self._pid_inside = int(json.loads(first)["child-pid"])
        return self._pid_inside


def _parent(pid: int) -> int:
    # Bytes, because a process chooses its name, which need not be text.
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def has_ended(pid: int) -> bool:
    """Whether the process, which nobody has waited for, has ended."""
    return wait_for(pid, 0)


def wait_for(pid: int, seconds: float = _DEATH_SECONDS) -> bool:
    """Whether the process, which nobody has waited for, ended in time."""
    descriptor = os.pidfd_open(pid)
    try:
        return is_readable(descriptor, seconds)
    finally:
        os.close(descriptor)


def is_readable(descriptor: int, seconds: float = 0) -> bool:
    """Whether it can be read in time; of a pidfd, whether its process ended."""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(seconds))
