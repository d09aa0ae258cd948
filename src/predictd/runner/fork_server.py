"""A fork server: imports the packages that models use, holds nothing of any user's, and is forked for each run.

Runs in a sandbox of its own that sees what a run sees. Its argument is JSON: `packages` (folder), `socket` and `filter`
(descriptors; the compiled filter of system calls), `imports` (modules to import). The server's requests come on the
socket, one packet each: JSON with a `nonce`, and

    open       paths to open for a run, which can't open them itself; or
    rlimits    {number of a resource.RLIMIT_*: value}
    cpus       processors to pin to, or null
    scratch, shared   bytes of /tmp and of /dev/shm
    groups     number of member files
    hidden     folder to hide from the run, or null
    descriptors, in this order: the channel, the log, the start, the end, the member files of the group

The reply to each is one packet: JSON with its nonce and an `error` or null, and without error the opened descriptors or
a pidfd of the first process of a run that waits for its task. Nothing is sent without a request.

The start is a socket of that run alone. It first sends the server such a packet, without descriptors, when the run is
confined. Then it sends the run its task (JSON; `files` names the keys for the packet's descriptors).
When the run has ended, its exit code (128 plus the number of a signal) is written to the end as text, unless its first
process was killed.

Only the fork server has the socket and the end: the first process of a run closes all descriptors but its own before
anything else, and the runner closes the start before anything of the user's is loaded. Besides the standard streams it
then only has the channel and its opened files.
"""

import contextlib
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from . import syscalls
from .main import prepare, run_task

_REQUEST_BYTES = 64 * 1024
_MAX_DESCRIPTORS = 32
# Maps only the last id, to itself.
_PROJECT_IDS = "4294967294 4294967294 1"
# Descriptors of a run's first process, and of its runner until it has its task.
_CHANNEL, _START, _LOG = range(syscalls.FIRST_DESCRIPTOR, syscalls.FIRST_DESCRIPTOR + 3)


def main() -> NoReturn:
    """Serve runs until the server closes the socket."""
    config = json.loads(sys.argv[1])
    sys.argv[1:] = []
    server = socket.socket(fileno=config["socket"])
    with os.fdopen(config["filter"], "rb") as file:
        seccomp_filter = file.read()
    # Descriptors in flight count against a limit of the user, of which a run of the same user may use a part.
    max_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max_files, max_files))
    try:
        _close_project_ids()
        prepare(config["packages"])
        for name in config["imports"]:
            importlib.import_module(name)
        _check_threads()
    except Exception as error:  # noqa: BLE001 (reported to the server, which then starts runs cold)
        server.send(f"{type(error).__name__}: {error}"[:2000].encode("utf-8", "replace"))
        os._exit(1)
    gc.collect()
    gc.freeze()
    server.send(b"ready")
    _ForkServer(server, seccomp_filter).serve()


class _ForkServer:
    def __init__(self, server: socket.socket, seccomp_filter: bytes) -> None:
        self._server = server
        self._filter = seccomp_filter
        self._exit_pipes: dict[int, int] = {}  # by pid: where to write its exit code
        self._poll = select.poll()
        self._poll.register(server, select.POLLIN)
        self._pids: dict[int, int] = {}  # by pidfd

    def serve(self) -> NoReturn:
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._pids:
                    self._reap(descriptor)
                else:
                    self._serve_request()

    def _serve_request(self) -> None:
        data, descriptors, _, _ = socket.recv_fds(self._server, _REQUEST_BYTES, _MAX_DESCRIPTORS)
        if not data:
            os._exit(0)
        request = json.loads(data)
        results: list[int] = []
        error = None
        try:
            if "open" in request:
                for path in request["open"]:
                    results.append(os.open(path, os.O_RDONLY))
            else:
                results.append(self._fork(request, descriptors))
        except Exception as raised:  # noqa: BLE001 (reported to the server)
            error = raised
        try:
            _send(self._server, request["nonce"], error, [] if error else results)
        except OSError as raised:
            _send(self._server, request["nonce"], raised)
        # The pidfd of a run's process stays open to detect its end.
        for descriptor in {*results, *descriptors} - {*self._pids, *self._exit_pipes.values()}:
            os.close(descriptor)

    def _fork(self, request: dict[str, Any], descriptors: list[int]) -> int:
        """Fork a run and return a pidfd of its first process."""
        _check_threads()
        channel, log, start, end, *groups = descriptors
        if len(groups) != request["groups"]:
            raise OSError(f"only {len(descriptors)} descriptors arrived")
        pid, pidfd = syscalls.clone_into_namespaces()
        if pid == 0:
            try:
                self._server.detach()
                syscalls.keep_descriptors([channel, start, log, *groups])
                _become_first(request, len(groups), self._filter)
            finally:
                os._exit(1)  # it never continues as the fork server
        self._pids[pidfd] = pid
        self._exit_pipes[pid] = end
        self._poll.register(pidfd, select.POLLIN)
        return pidfd

    def _reap(self, pidfd: int) -> None:
        pid = self._pids.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        end = self._exit_pipes.pop(pid)
        # Nothing in a run can kill its first process, so it was killed from outside and the model has no exit code.
        if code >= 0:
            with contextlib.suppress(OSError):  # the server no longer waits for it
                os.write(end, str(code).encode())
        os.close(end)


def _become_first(request: dict[str, Any], groups: int, seccomp_filter: bytes) -> NoReturn:
    """Be the first process of a run's pid namespace; its last `groups` descriptors are the member files."""
    start = socket.socket(fileno=_START)
    try:
        syscalls.die_with_parent()
        _enter(request, groups, seccomp_filter)
        _send(start, request["nonce"], None)
        child = os.fork()
    except BaseException as error:  # noqa: BLE001 (nothing of the user's has run)
        _send(start, request["nonce"], error)
        os._exit(1)
    if child == 0:
        _become_runner(start)
    _wait(child)


def _enter(request: dict[str, Any], groups: int, seccomp_filter: bytes) -> None:
    """Join the groups, create the private mounts, and drop all privileges."""
    for group in range(_LOG + 1, _LOG + 1 + groups):
        os.write(group, b"0")
    syscalls.unshare(syscalls.CLONE_NEWCGROUP)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount("proc", "/proc", "proc", flags | syscalls.MS_NOEXEC)
    syscalls.mount("tmpfs", "/tmp", "tmpfs", flags, f"mode=1777,size={request['scratch']}")  # noqa: S108
    syscalls.mount("tmpfs", "/dev/shm", "tmpfs", flags, f"mode=1777,size={request['shared']}")  # noqa: S108
    os.chdir("/tmp")  # noqa: S108
    if request["hidden"] is not None:
        # Covered, because a mount of the fork server can't be removed here.
        syscalls.mount("tmpfs", request["hidden"], "tmpfs", flags | syscalls.MS_RDONLY, "mode=555,size=4k")
    os.setsid()
    if request["cpus"]:
        os.sched_setaffinity(0, request["cpus"])
    for number, value in request["rlimits"].items():
        syscalls.limit(int(number), value)
    syscalls.drop_capabilities()
    syscalls.set_dumpable(False)
    syscalls.filter_calls(seccomp_filter)


def _become_runner(start: socket.socket) -> NoReturn:
    """Become the runner when the start delivers its task."""
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (_LOG, 1), (_LOG, 2)):
        os.dup2(source, target)
    syscalls.keep_descriptors([_CHANNEL, _START])
    with start:
        data, files, _, _ = socket.recv_fds(start, _REQUEST_BYTES, _MAX_DESCRIPTORS)
    if not data:
        os._exit(0)
    syscalls.set_dumpable(True)
    task = json.loads(data)
    task = {**task, "channel": _CHANNEL, **dict(zip(task["files"], files, strict=True))}
    sys.modules["numpy"].random.seed()
    run_task(task)


def _wait(child: int) -> NoReturn:
    """Wait for processes until the runner ends, and exit with its exit code; the kernel then kills all others."""
    syscalls.close_descriptors(0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _send(to: socket.socket, nonce: str, error: BaseException | None, descriptors: Sequence[int] = ()) -> None:
    reply = json.dumps({"nonce": nonce, "error": None if error is None else str(error)[:2000]})
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the server no longer waits for it
        socket.send_fds(to, [reply.encode("ascii")], descriptors)


def _close_project_ids() -> None:
    """Write the map of project ids, which anyone can write once, so that no run writes it for all runs."""
    # If the machine refuses this to this process, it refuses it to every run, too.
    with contextlib.suppress(OSError), open("/proc/self/projid_map", "w", encoding="ascii") as file:
        file.write(_PROJECT_IDS)


def _check_threads() -> None:
    """Raise RuntimeError if there are threads: a lock that one holds would stay locked in forked processes."""
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(f"it has {threads} threads and can't be forked")
