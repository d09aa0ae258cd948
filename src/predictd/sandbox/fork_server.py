"""One warm parent: a process that has imported what models import, and is forked for each run.

Its next run is forked beforehand and waits for its task, so that nobody waits for namespaces and groups.
"""

import array
import contextlib
import fcntl
import json
import logging
import os
import resource
import secrets
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from predictd.domain.errors import PlatformError
from predictd.domain.limits import Limits
from predictd.domain.runs import RunRequest
from predictd.sandbox.command import INSIDE, where_inside
from predictd.sandbox.handle import RunLost, is_readable, wait_for
from predictd.sandbox.launch import (
    Passed,
    data_files,
    file_limits,
    parent_sandbox,
    processes_are_counted_inside,
    seccomp_program,
    start,
    task_of,
    user_of,
)
from predictd.sandbox.memory_monitor import SCRATCHES
from predictd.sandbox.readonly_open import opened_read_only
from predictd.sandbox.resource_group import ResourceGroup
from predictd.sandbox.resources import hierarchy, resource_group

log = logging.getLogger(__name__)

_START_SECONDS = 60.0
_ANSWER_SECONDS = 20.0
_DEATH_SECONDS = 10.0
_HIDDEN = f"{INSIDE}/host"
_BYTES = 64 * 1024
_MOST_RECEIVED = 8
_MOST_SHOWN = 2000
_NONCE_BYTES = 16
# An answer of usual size goes at one stroke, without waking the server for each part of it.
_ANSWER_BYTES = 1 << 20


class CannotFork(Exception):
    """There is no warm parent for this run; it starts cold."""


class WarmParent:
    """A warm parent for runs like `request`, whose files lie in `folders`; one run at a time.

    Attributes:
        is_free: held by whoever has it fork.

    Raises:
        OSError, CannotFork, PlatformError: it did not start.
    """

    def __init__(self, request: RunRequest, folders: Sequence[Path]) -> None:
        self.is_free = threading.Lock()
        self._slot = request.slot
        self._hidden = () if user_of(request.slot) is not None else tuple(folders)
        self._next: _Waiting | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # A pipe, as a run's log is one: Python treats the two kinds of files differently.
        said, output = os.pipe()
        try:
            binds = {f"{_HIDDEN}/{number}": folder for number, folder in enumerate(self._hidden)}
            filtered = seccomp_program(counts_all_memory=hierarchy() is not None)
            passed = Passed()
            number = passed.add(theirs.detach())
            try:
                config = parent_sandbox(request, passed, number, filtered, request.imports, binds)
                self._process = start(config, passed, output)
            finally:
                passed.close()
            self._socket.settimeout(_START_SECONDS)
            answer = self._socket.recv(_BYTES)
            if answer != b"ready":
                os.set_blocking(said, False)
                with contextlib.suppress(BlockingIOError):
                    answer = answer or os.read(said, _BYTES)
                raise CannotFork(answer.decode("utf-8", "replace").strip() or "it ended at once")
            self._socket.settimeout(_ANSWER_SECONDS)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(said)
            os.close(output)

    def close(self) -> None:
        """End it, and with it what was forked from it."""
        if self._next is not None:
            self._next.discard()
            self._next = None
        self._socket.close()
        if self._process is not None:
            if not wait_for(self._process.pid, 1.0):
                self._process.kill()
            self._process.wait()
            self._process = None

    def run(self, request: RunRequest) -> "WarmRun":
        """Start the run.

        Raises:
            CannotFork: it was not started.
        """
        waiting, self._next = self._next, None
        run = None
        try:
            if waiting is not None and waiting.limits != request.limits:
                self._receive(waiting.nonce, 1, waiting.stack)  # so that each reply follows its own request
                waiting.discard()
                waiting = None
            waiting = waiting or self._fork(request.limits)
            run = self._begin(waiting, request)
        except OSError as error:
            raise CannotFork(str(error)) from error
        finally:
            if waiting is not None and run is None:
                waiting.discard()
        with contextlib.suppress(CannotFork):  # the next run will tell
            self._next = self._fork(request.limits)
        return run

    def _fork(self, limits: Limits) -> "_Waiting":
        """Have a run forked, which takes its task later; does not wait for it."""
        with ExitStack() as stack, ExitStack() as passed:
            try:
                group = resource_group(limits, self._slot)
                stack.callback(group.close)
                reads, writes = [], []
                for _ in ("answer", "log", "end"):
                    read, write = os.pipe()
                    stack.callback(os.close, read)
                    passed.callback(os.close, write)
                    reads.append(read)
                    writes.append(write)
                with contextlib.suppress(OSError):  # more than this user may have
                    fcntl.fcntl(reads[0], fcntl.F_SETPIPE_SZ, _ANSWER_BYTES)
                task, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                stack.callback(task.close)
                passed.callback(theirs.close)
                task.settimeout(_ANSWER_SECONDS)
                writes.insert(2, theirs.fileno())
                for path in group.joins:
                    writes.append(os.open(path, os.O_WRONLY))
                    passed.callback(os.close, writes[-1])
                request = {
                    "rlimits": {getattr(resource, k): v for k, v in {**file_limits(limits), **group.rlimits}.items()},
                    "cpus": group.processors,
                    "scratch": limits.scratch_bytes,
                    "shared": max(limits.scratch_bytes // 4, 1),
                    "groups": len(group.joins),
                    "hidden": _HIDDEN if self._hidden else None,
                }
                nonce = self._send(request, writes)
            except (OSError, PlatformError) as error:
                raise CannotFork(str(error)) from error
            return _Waiting(limits, nonce, group, reads, task, stack.pop_all())

    def _begin(self, waiting: "_Waiting", request: RunRequest) -> "WarmRun":
        (process,) = self._receive(waiting.nonce, 1, waiting.stack)
        _receive(waiting.task, waiting.nonce, 0, waiting.stack)
        files = data_files(request)
        with ExitStack() as opened:
            descriptors = self._opened([Path(path) for path in files.values()], opened)
            processes = request.limits.processes if processes_are_counted_inside() else None
            task = {**task_of(request, -1, {}, processes), "files": list(files)}
            task |= {"packages": where_inside(request.runtime).packages}
            pid = _pid_of(process)
            waiting.group.watch(pid, _scratch_of(pid, process, waiting.stack))
            self._check_silence()  # a run that waits dies with its parent
            socket.send_fds(waiting.task, [json.dumps(task).encode()], descriptors)
        return WarmRun(process, waiting)

    def _opened(self, paths: Sequence[Path], stack: ExitStack) -> list[int]:
        """Descriptors through which nobody can write to the files, closed with the stack."""
        if user_of(self._slot) is not None:
            descriptors = []
            for path in paths:
                descriptors.append(opened_read_only(path))
                stack.callback(os.close, descriptors[-1])
            return descriptors
        nonce = self._send({"open": [self._path_inside(path) for path in paths]})
        descriptors = self._receive(nonce, len(paths), stack)
        for path, descriptor in zip(paths, descriptors, strict=True):
            if not _is_of(descriptor, path):
                raise CannotFork(f"what it opened is not {path}")
        return descriptors

    def _send(self, request: Mapping[str, object], descriptors: Sequence[int] = ()) -> str:
        """Request something of the parent; the nonce of its reply."""
        self._check_silence()
        nonce = secrets.token_hex(_NONCE_BYTES)
        socket.send_fds(self._socket, [json.dumps({"nonce": nonce, **request}).encode()], descriptors)
        return nonce

    def _receive(self, nonce: str, count: int, stack: ExitStack) -> list[int]:
        return _receive(self._socket, nonce, count, stack)

    def _check_silence(self) -> None:
        """Raise CannotFork where the parent has spoken without being asked, or has ended; it is not used again then."""
        if is_readable(self._socket.fileno()):
            raise CannotFork("it has ended, or spoke out of turn")

    def _path_inside(self, path: Path) -> str:
        for number, folder in enumerate(self._hidden):
            if path.is_relative_to(folder):
                return f"{_HIDDEN}/{number}/{path.relative_to(folder)}"
        raise CannotFork(f"{path} lies outside of the folders of runs")


class _Waiting:
    """A run that was forked and waits for its task; all that it holds is closed with the stack."""

    def __init__(
        self,
        limits: Limits,
        nonce: str,
        group: ResourceGroup,
        pipes: Sequence[int],
        task: socket.socket,
        stack: ExitStack,
    ) -> None:
        self.limits = limits
        self.nonce = nonce
        self.group = group
        self.pipes = pipes
        self.task = task
        self.stack = stack

    def discard(self) -> None:
        """End it: without its task's socket it ends by itself, and the group kills what does not."""
        self.stack.close()


class WarmRun:
    """A run that was forked from a warm parent; see Launched. `process` is a pidfd of its first process."""

    def __init__(self, process: int, waiting: _Waiting) -> None:
        self.answer, self.log, self.ended = waiting.pipes
        self.group = waiting.group
        self._process = process
        self._waiting = waiting

    def exit_code(self) -> int:
        """See Launched."""
        told = os.read(self.ended, 16)
        if not told:
            raise RunLost("The run, or the warm parent that it was forked from, was killed from outside.")
        return int(told)

    def started(self) -> None:
        """See Launched."""

    def kill(self) -> None:
        """See Launched; the first process of a pid namespace dies only after all others in it have."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        if not is_readable(self._process, _DEATH_SECONDS):
            log.error("processes of a run outlived SIGKILL")

    def release(self) -> None:
        """See Launched; the parent collects it."""

    def close(self) -> None:
        """Close what leads to the run."""
        self._waiting.stack.close()


def _receive(sender: socket.socket, nonce: str, count: int, stack: ExitStack) -> list[int]:
    """The descriptors of the reply to the request with that nonce, closed with the stack.

    Raises:
        CannotFork: the reply is an error, has another nonce, or does not have so many descriptors.
    """
    received = array.array("i")
    room = socket.CMSG_SPACE(_MOST_RECEIVED * received.itemsize)
    data, ancillary, flags, _ = sender.recvmsg(_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received.frombytes(content[: len(content) - len(content) % received.itemsize])
    for descriptor in received:
        stack.callback(os.close, descriptor)
    if not data:
        raise CannotFork("it has ended")
    try:
        reply = json.loads(data)
        of, error = reply["nonce"], reply["error"]
    except (ValueError, RecursionError, TypeError, KeyError):
        raise CannotFork("its reply can't be read") from None
    if of != nonce:
        raise CannotFork("it replied to what was not asked")
    if error is not None:
        raise CannotFork(str(error)[:_MOST_SHOWN])
    if len(received) != count or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        raise CannotFork(f"it replied with {len(received)} descriptors in place of {count}")
    return list(received)


def _is_of(descriptor: int, path: Path) -> bool:
    """Whether the descriptor is of this very file, and for reading alone."""
    mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    return mode == os.O_RDONLY and os.path.samestat(os.fstat(descriptor), path.stat())


def _scratch_of(pid: int, process: int, stack: ExitStack) -> list[int]:
    """Descriptors of the run's filesystems in memory, closed with the stack.

    Raises:
        CannotFork: its first process, which has that number and pidfd, has ended.
    """
    scratch = []
    for folder in SCRATCHES:
        scratch.append(os.open(f"/proc/{pid}/root{folder}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        stack.callback(os.close, scratch[-1])
    if is_readable(process):
        raise CannotFork("the run that waited has ended")
    return scratch


def _pid_of(process: int) -> int:
    """The number of the process of a pidfd, as this server sees it; -1 when it is gone."""
    lines = Path(f"/proc/self/fdinfo/{process}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))
