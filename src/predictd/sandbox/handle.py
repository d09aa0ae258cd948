"""Handles of started runs: pipes to read, exit code, and killing all of their processes."""

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


class RunLostError(PlatformError):
    """The process that supervises the run was killed from outside of the run."""


class RunHandle(Protocol):
    """A run in progress.

    Attributes:
        channel: descriptor to read the runner's frames from.
        log: descriptor to read the output of the model from.
        ended: descriptor that becomes readable when the run ends.
    """

    channel: int
    log: int
    ended: int

    def exit_code(self) -> int:
        """Return the exit code of a run that has ended; 128 plus the signal number if it was killed.

        Raises:
            RunLostError: A process was killed that the run itself can't reach.
        """

    def on_runner_started(self) -> None:
        """Called once after the runner's first frame, before anything of the user's is loaded."""

    def kill(self) -> None:
        """Kill all processes of the run; on return none is running, and their pids are not reused yet."""

    def release(self) -> None:
        """Wait for the dead processes; call it after `kill` and after closing the group."""


class ProcessRun:
    """A run that ends with a child process of this server."""

    def __init__(self, process: "subprocess.Popen[bytes]", channel: int, log: int) -> None:
        self.process = process
        self.channel = channel
        self.log = log
        self.ended = os.pidfd_open(process.pid)

    def exit_code(self) -> int:
        """See RunHandle; the process remains to be waited for."""
        status = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        assert status is not None
        return status.si_status if status.si_code == os.CLD_EXITED else 128 + status.si_status

    def on_runner_started(self) -> None:
        """See RunHandle."""

    def release(self) -> None:
        """See RunHandle."""
        os.close(self.ended)
        self.process.wait()


class PlainRun(ProcessRun):
    """A run without isolation: the launcher kills the processes that it started before it ends."""

    def kill(self) -> None:
        """See RunHandle."""
        # Not Popen's own methods: they wait for a process that has ended, and free its pid.
        os.kill(self.process.pid, signal.SIGTERM)
        wait_for(self.process.pid)
        os.kill(self.process.pid, signal.SIGKILL)


class BubblewrapRun(ProcessRun):
    """A run in bubblewrap, which writes the pid of the first process inside to `status`."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", channel: int, log: int, status: int, max_processes: int | None
    ) -> None:
        super().__init__(process, channel, log)
        self._status = status
        self._max_processes = max_processes
        self._status_text = b""
        self._pid_inside: int | None = None

    def exit_code(self) -> int:
        """See RunHandle; bubblewrap, which no run can reach, reports the exit code of the runner."""
        status = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        assert status is not None
        if status.si_code != os.CLD_EXITED:
            raise RunLostError("The sandbox of the run was killed from outside.")
        return status.si_status

    def on_runner_started(self) -> None:
        """See RunHandle; limit the first process inside like the runner, because a model could take it over."""
        if self._max_processes is not None:
            with contextlib.suppress(OSError, ValueError, KeyError):
                pid = self._read_pid()
                resource.prlimit(pid, resource.RLIMIT_NPROC, (self._max_processes, self._max_processes))

    def kill(self) -> None:
        """See RunHandle; kill from the inside out, so bubblewrap waits for dead processes and leaves no orphans."""
        pidfd = self._open_first_process()
        if pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            # The first process of a pid namespace dies after all others in it.
            if not is_readable(pidfd, _DEATH_SECONDS) or not wait_for(self.process.pid):
                log.error("processes of a run outlived SIGKILL")
            os.close(pidfd)
        else:
            self._kill_children()
        os.kill(self.process.pid, signal.SIGKILL)

    def _kill_children(self) -> None:
        """Kill the child of a bubblewrap that is not set up yet, which would not die with it."""
        children = descendants(self.process.pid)[1:]
        for pid in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if children:
            wait_for(self.process.pid, 1.0)

    def _open_first_process(self) -> int | None:
        """Return a pidfd of the first process inside, or None if it does not exist."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            pid = self._read_pid()
            descriptor = os.pidfd_open(pid)
            if _parent_pid(pid) == self.process.pid:
                return descriptor
            os.close(descriptor)  # the pid was reused
        return None

    def _read_pid(self) -> int:
        """Return the pid of the first process inside; raise OSError or ValueError if it is not known yet."""
        if self._pid_inside is None:
            os.set_blocking(self._status, False)
            self._status_text += os.read(self._status, _STATUS_BYTES)
            # One JSON object per line; the first has the pid.
            first_line, newline, _ = self._status_text.partition(b"\n")
            if not newline:
                raise ValueError("not written yet")
            self._pid_inside = int(json.loads(first_line)["child-pid"])
        return self._pid_inside


def _parent_pid(pid: int) -> int:
    # Bytes, because a process chooses its own name, which may be invalid UTF-8.
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def has_ended(pid: int) -> bool:
    """Return whether the process, which must not have been waited for, has ended."""
    return wait_for(pid, 0)


def wait_for(pid: int, seconds: float = _DEATH_SECONDS) -> bool:
    """Return whether the process, which must not have been waited for, ends in time."""
    descriptor = os.pidfd_open(pid)
    try:
        return is_readable(descriptor, seconds)
    finally:
        os.close(descriptor)


def is_readable(descriptor: int, seconds: float = 0) -> bool:
    """Return whether the descriptor becomes readable in time; for a pidfd, whether its process ends."""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(seconds))
