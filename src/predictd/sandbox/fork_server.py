"""A fork server: a process that has imported the packages that models use, and is forked for each run.

Its next run is forked in advance and waits for its task, so no run waits for namespaces and control groups.
"""

import array
import contextlib
import ctypes
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
from predictd.sandbox.command import SANDBOX_HOME, sandbox_folders
from predictd.sandbox.handle import RunLostError, is_readable, wait_for
from predictd.sandbox.launch import (
    PassedDescriptors,
    data_files,
    file_limits,
    fork_server_config,
    processes_are_counted_inside,
    runner_task,
    seccomp_program,
    slot_user,
    start,
)
from predictd.sandbox.memory_monitor import SCRATCHES
from predictd.sandbox.resource_group import ResourceGroup, create_resource_group, hierarchy

log = logging.getLogger(__name__)

_START_SECONDS = 60.0
_REPLY_SECONDS = 20.0
_DEATH_SECONDS = 10.0
_HOST_FOLDER = f"{SANDBOX_HOME}/host"
_PACKET_BYTES = 64 * 1024
_MAX_DESCRIPTORS = 8
_MAX_ERROR_LENGTH = 2000
_NONCE_BYTES = 16
# A result of usual size fits, so the server is not woken for each part of it.
_PIPE_BYTES = 1 << 20
_SYS_OPEN_TREE, _SYS_MOUNT_SETATTR = 428, 442
_OPEN_TREE_CLONE, _AT_EMPTY_PATH = 1, 0x1000
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV = 0x1, 0x2, 0x4

_libc = ctypes.CDLL(None, use_errno=True)


class CannotForkError(Exception):
    """The run can't be forked; it may start cold instead."""


class ForkServer:
    """A fork server for runs like `request`, with files in `folders`; starts one run at a time.

    Attributes:
        lock: held while a run is forked and running.

    Raises:
        OSError, CannotForkError, PlatformError: It did not start.
    """

    def __init__(self, request: RunRequest, folders: Sequence[Path]) -> None:
        self.lock = threading.Lock()
        self._slot = request.slot
        self._host_folders = () if slot_user(request.slot) is not None else tuple(folders)
        self._next: _PreparedRun | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._socket, other_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # A pipe like the log of a run: Python treats pipes and files differently.
        output_reader, output_writer = os.pipe()
        try:
            binds = {f"{_HOST_FOLDER}/{number}": folder for number, folder in enumerate(self._host_folders)}
            seccomp_filter = seccomp_program(counts_all_memory=hierarchy() is not None)
            passed = PassedDescriptors()
            number = passed.add(other_end.detach())
            try:
                config = fork_server_config(request, passed, number, seccomp_filter, request.imports, binds)
                self._process = start(config, passed, output_writer)
            finally:
                passed.close()
            self._socket.settimeout(_START_SECONDS)
            reply = self._socket.recv(_PACKET_BYTES)
            if reply != b"ready":
                os.set_blocking(output_reader, False)
                with contextlib.suppress(BlockingIOError):
                    reply = reply or os.read(output_reader, _PACKET_BYTES)
                raise CannotForkError(reply.decode("utf-8", "replace").strip() or "it ended immediately")
            self._socket.settimeout(_REPLY_SECONDS)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(output_reader)
            os.close(output_writer)

    def close(self) -> None:
        """Stop it and the runs that were forked from it."""
        if self._next is not None:
            self._next.discard()
            self._next = None
        self._socket.close()
        if self._process is not None:
            if not wait_for(self._process.pid, 1.0):
                self._process.kill()
            self._process.wait()
            self._process = None

    def run(self, request: RunRequest) -> "ForkedRun":
        """Start the run.

        Raises:
            CannotForkError: The run was not started.
        """
        prepared, self._next = self._next, None
        run = None
        try:
            if prepared is not None and prepared.limits != request.limits:
                self._receive(prepared.nonce, 1, prepared.stack)  # keep replies in step with requests
                prepared.discard()
                prepared = None
            prepared = prepared or self._fork(request.limits)
            run = self._start_task(prepared, request)
        except OSError as error:
            raise CannotForkError(str(error)) from error
        finally:
            if prepared is not None and run is None:
                prepared.discard()
        with contextlib.suppress(CannotForkError):  # the next run reports it
            self._next = self._fork(request.limits)
        return run

    def _fork(self, limits: Limits) -> "_PreparedRun":
        """Request a forked run, which gets its task later; do not wait for the reply."""
        with ExitStack() as stack, ExitStack() as passed:
            try:
                group = create_resource_group(limits, self._slot)
                stack.callback(group.close)
                reads, writes = [], []
                for _ in ("channel", "log", "exit code"):
                    read, write = os.pipe()
                    stack.callback(os.close, read)
                    passed.callback(os.close, write)
                    reads.append(read)
                    writes.append(write)
                with contextlib.suppress(OSError):  # above the limit of this user
                    fcntl.fcntl(reads[0], fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
                task, other_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                stack.callback(task.close)
                passed.callback(other_end.close)
                task.settimeout(_REPLY_SECONDS)
                writes.insert(2, other_end.fileno())
                for path in group.member_files:
                    writes.append(os.open(path, os.O_WRONLY))
                    passed.callback(os.close, writes[-1])
                request = {
                    "rlimits": {getattr(resource, k): v for k, v in {**file_limits(limits), **group.rlimits}.items()},
                    "cpus": group.processors,
                    "scratch": limits.scratch_bytes,
                    "shared": max(limits.scratch_bytes // 4, 1),
                    "groups": len(group.member_files),
                    "hidden": _HOST_FOLDER if self._host_folders else None,
                }
                nonce = self._send(request, writes)
            except (OSError, PlatformError) as error:
                raise CannotForkError(str(error)) from error
            return _PreparedRun(limits, nonce, group, reads, task, stack.pop_all())

    def _start_task(self, prepared: "_PreparedRun", request: RunRequest) -> "ForkedRun":
        (pidfd,) = self._receive(prepared.nonce, 1, prepared.stack)
        _receive(prepared.task, prepared.nonce, 0, prepared.stack)
        files = data_files(request)
        with ExitStack() as opened:
            descriptors = self._open_files([Path(path) for path in files.values()], opened)
            processes = request.limits.processes if processes_are_counted_inside() else None
            task = {**runner_task(request, -1, {}, processes), "files": list(files)}
            task |= {"packages": sandbox_folders(request.runtime).packages}
            pid = _pid_of(pidfd)
            prepared.group.watch(pid, _open_scratch(pid, pidfd, prepared.stack))
            self._check_no_message()  # a prepared run dies with its fork server
            socket.send_fds(prepared.task, [json.dumps(task).encode()], descriptors)
        return ForkedRun(pidfd, prepared)

    def _open_files(self, paths: Sequence[Path], stack: ExitStack) -> list[int]:
        """Return read-only descriptors of the files, which can't be reopened for writing; the stack closes them."""
        if slot_user(self._slot) is not None:
            descriptors = []
            for path in paths:
                descriptors.append(_open_read_only(path))
                stack.callback(os.close, descriptors[-1])
            return descriptors
        nonce = self._send({"open": [self._path_inside(path) for path in paths]})
        descriptors = self._receive(nonce, len(paths), stack)
        for path, descriptor in zip(paths, descriptors, strict=True):
            if not _is_opened_read_only(descriptor, path):
                raise CannotForkError(f"it opened another file than {path}")
        return descriptors

    def _send(self, request: Mapping[str, object], descriptors: Sequence[int] = ()) -> str:
        """Send a request to the fork server and return the nonce of its reply."""
        self._check_no_message()
        nonce = secrets.token_hex(_NONCE_BYTES)
        socket.send_fds(self._socket, [json.dumps({"nonce": nonce, **request}).encode()], descriptors)
        return nonce

    def _receive(self, nonce: str, count: int, stack: ExitStack) -> list[int]:
        return _receive(self._socket, nonce, count, stack)

    def _check_no_message(self) -> None:
        """Raise CannotForkError if the process has ended or sent a message without a request."""
        if is_readable(self._socket.fileno()):
            raise CannotForkError("it has ended, or sent a message without a request")

    def _path_inside(self, path: Path) -> str:
        for number, folder in enumerate(self._host_folders):
            if path.is_relative_to(folder):
                return f"{_HOST_FOLDER}/{number}/{path.relative_to(folder)}"
        raise CannotForkError(f"{path} is outside of the folders of runs")


class _PreparedRun:
    """A forked run that waits for its task; the stack closes everything that belongs to it."""

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
        """End it: it exits when the socket of its task closes, and the group kills what remains."""
        self.stack.close()


class ForkedRun:
    """A run that was forked from a fork server. See RunHandle."""

    def __init__(self, pidfd: int, prepared: _PreparedRun) -> None:
        self.channel, self.log, self.ended = prepared.pipes
        self.group = prepared.group
        self._pidfd = pidfd
        self._prepared = prepared

    def exit_code(self) -> int:
        """See RunHandle."""
        exit_code = os.read(self.ended, 16)
        if not exit_code:
            raise RunLostError("The run or the fork server that it was forked from was killed from outside.")
        return int(exit_code)

    def on_runner_started(self) -> None:
        """See RunHandle."""

    def kill(self) -> None:
        """See RunHandle; the first process of a pid namespace dies after all others in it."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        if not is_readable(self._pidfd, _DEATH_SECONDS):
            log.error("processes of a run outlived SIGKILL")

    def release(self) -> None:
        """See RunHandle; the fork server waits for the process."""

    def close(self) -> None:
        """Close the pipes and the resource group of the run."""
        self._prepared.stack.close()


def _receive(sender: socket.socket, nonce: str, count: int, stack: ExitStack) -> list[int]:
    """Return the descriptors of the reply to the request with that nonce; the stack closes them.

    Raises:
        CannotForkError: The reply is an error, or has another nonce or number of descriptors.
    """
    received = array.array("i")
    room = socket.CMSG_SPACE(_MAX_DESCRIPTORS * received.itemsize)
    data, ancillary, flags, _ = sender.recvmsg(_PACKET_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received.frombytes(content[: len(content) - len(content) % received.itemsize])
    for descriptor in received:
        stack.callback(os.close, descriptor)
    if not data:
        raise CannotForkError("it has ended")
    try:
        reply = json.loads(data)
        reply_nonce, error = reply["nonce"], reply["error"]
    except (ValueError, RecursionError, TypeError, KeyError):
        raise CannotForkError("its reply can't be read") from None
    if reply_nonce != nonce:
        raise CannotForkError("it replied to another request")
    if error is not None:
        raise CannotForkError(str(error)[:_MAX_ERROR_LENGTH])
    if len(received) != count or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        raise CannotForkError(f"it replied with {len(received)} descriptors instead of {count}")
    return list(received)


def _is_opened_read_only(descriptor: int, path: Path) -> bool:
    """Return whether the descriptor is of this file and only for reading."""
    mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    return mode == os.O_RDONLY and os.path.samestat(os.fstat(descriptor), path.stat())


def _open_scratch(pid: int, pidfd: int, stack: ExitStack) -> list[int]:
    """Return descriptors of the run's file systems in memory; the stack closes them.

    Raises:
        CannotForkError: The first process of the run, with that pid and pidfd, has ended.
    """
    scratch = []
    for folder in SCRATCHES:
        scratch.append(os.open(f"/proc/{pid}/root{folder}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        stack.callback(os.close, scratch[-1])
    if is_readable(pidfd):
        raise CannotForkError("the prepared run has ended")
    return scratch


def _pid_of(pidfd: int) -> int:
    """Return the pid of the process of a pidfd, or -1 if it has been waited for."""
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))


class _MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]


def _open_read_only(path: Path) -> int:
    """Open the file through a private read-only mount, so it can't be reopened for writing; requires root.

    Raises:
        OSError: The file does not exist, or the kernel is older than 5.12.
    """
    source = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        tree = _syscall(_SYS_OPEN_TREE, source, b"", ctypes.c_uint(_OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH))
    finally:
        os.close(source)
    try:
        attributes = _MountAttributes(set=_MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV)
        size = ctypes.c_size_t(ctypes.sizeof(attributes))
        _syscall(_SYS_MOUNT_SETATTR, tree, b"", ctypes.c_uint(_AT_EMPTY_PATH), ctypes.byref(attributes), size)
        return os.open(f"/proc/self/fd/{tree}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(tree)


def _syscall(number: int, descriptor: int, *arguments: object) -> int:
    result = _libc.syscall(ctypes.c_long(number), ctypes.c_int(descriptor), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(result)
