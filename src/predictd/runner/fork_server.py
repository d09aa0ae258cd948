"""A warm parent: has imported what models import, holds nothing of any user's, and is forked for each run.

Runs in a sandbox of its own that sees what a run sees. Its argument is JSON: `packages` (folder), `socket` and `filter`
(descriptors; the compiled filter of system calls), `imports` (modules to have). The server's requests come on the
socket, one packet each: JSON with a `nonce`, and

    open       paths to open for a run, which can't open them itself; or
    rlimits    {number of a resource.RLIMIT_*: value}
    cpus       processors to stay on, or null
    scratch, shared   bytes of /tmp and of /dev/shm
    groups     how many lists of members come
    hidden     folder that a run does not see, or null
    descriptors, in this order: the answer, the log, the start, the end, the group's lists of members

Each gets one packet back: JSON with its nonce and an `error` or null, and where there is none the opened descriptors or
a descriptor of the first process of a run that waits for its task. Nothing is sent without a request.

The start, a socket of that run alone, first brings the server such a packet, without descriptors, once the run is shut
in, and then the run its task (JSON, `files` names those of its values that the packet's descriptors stand for).
When the run has ended, its exit code (128 and the number for a signal) is written to the end as text; nothing is, where
its first process was killed.

No process but the parent ever has the socket or the end: a run's first process closes all but what is its own before
anything else, and the runner closes the start before anything of the user's is loaded. It has then, beside the standard
streams, the answer alone, and what it opened of its files.
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
_MOST_DESCRIPTORS = 32
# The last id alone, by itself.
_PROJECT_IDS = "4294967294 4294967294 1"
# Descriptors of a run's first process, and of its runner until it has its task.
_ANSWER, _START, _LOG = range(syscalls.FIRST_DESCRIPTOR, syscalls.FIRST_DESCRIPTOR + 3)


def main() -> NoReturn:
    """Serve runs until the server closes the socket."""
    told = json.loads(sys.argv[1])
    sys.argv[1:] = []
    server = socket.socket(fileno=told["socket"])
    with os.fdopen(told["filter"], "rb") as file:
        filtered = file.read()
    # Descriptors on their way count against a limit of the user, of which a run of the same user may take up a part.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        _close_project_ids()
        prepare(told["packages"])
        for name in told["imports"]:
            importlib.import_module(name)
        _check_threads()
    except Exception as error:  # noqa: BLE001 (told to the server, which then runs models without a warm parent)
        server.send(f"{type(error).__name__}: {error}"[:2000].encode("utf-8", "replace"))
        os._exit(1)
    gc.collect()
    gc.freeze()
    server.send(b"ready")
    _Parent(server, filtered).serve()


class _Parent:
    def __init__(self, server: socket.socket, filtered: bytes) -> None:
        self._server = server
        self._filter = filtered
        self._ends: dict[int, int] = {}  # by pid: where to tell how it ended
        self._poll = select.poll()
        self._poll.register(server, select.POLLIN)
        self._pids: dict[int, int] = {}  # by pidfd

    def serve(self) -> NoReturn:
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._pids:
                    self._collect(descriptor)
                else:
                    self._take()

    def _take(self) -> None:
        data, descriptors, _, _ = socket.recv_fds(self._server, _REQUEST_BYTES, _MOST_DESCRIPTORS)
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
        except Exception as raised:  # noqa: BLE001 (told to the server)
            error = raised
        try:
            _send(self._server, request["nonce"], error, [] if error else results)
        except OSError as raised:
            _send(self._server, request["nonce"], raised)
        # The descriptor of a run's process stays open here, too, to learn of its end.
        for descriptor in {*results, *descriptors} - {*self._pids, *self._ends.values()}:
            os.close(descriptor)

    def _fork(self, request: dict[str, Any], descriptors: list[int]) -> int:
        """A pidfd of the run's first process."""
        _check_threads()
        answer, log, start, end, *groups = descriptors
        if len(groups) != request["groups"]:
            raise OSError(f"only {len(descriptors)} descriptors arrived")
        pid, pidfd = syscalls.clone_into_namespaces()
        if pid == 0:
            try:
                self._server.detach()
                syscalls.keep_descriptors([answer, start, log, *groups])
                _become_first(request, len(groups), self._filter)
            finally:
                os._exit(1)  # whatever goes wrong, it never goes on as the parent
        self._pids[pidfd] = pid
        self._ends[pid] = end
        self._poll.register(pidfd, select.POLLIN)
        return pidfd

    def _collect(self, pidfd: int) -> None:
        pid = self._pids.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        end = self._ends.pop(pid)
        # Nothing in a run can kill its first process: who did is outside, and there is nothing to tell of the model.
        if code >= 0:
            with contextlib.suppress(OSError):  # nobody waits for it any more
                os.write(end, str(code).encode())
        os.close(end)


def _become_first(request: dict[str, Any], groups: int, filtered: bytes) -> NoReturn:
    """Be the first process of a run's pid namespace; of its descriptors the last ones are those of its groups."""
    start = socket.socket(fileno=_START)
    try:
        syscalls.die_with_parent()
        _enter(request, groups, filtered)
        _send(start, request["nonce"], None)
        child = os.fork()
    except BaseException as error:  # noqa: BLE001 (nothing of the user's has run yet)
        _send(start, request["nonce"], error)
        os._exit(1)
    if child == 0:
        _become_runner(start)
    _wait(child)


def _enter(request: dict[str, Any], groups: int, filtered: bytes) -> None:
    """Join the groups, make the private mounts, and give up every privilege."""
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
        # Covered, because a mount of the parent's can't be removed here.
        syscalls.mount("tmpfs", request["hidden"], "tmpfs", flags | syscalls.MS_RDONLY, "mode=555,size=4k")
    os.setsid()
    if request["cpus"]:
        os.sched_setaffinity(0, request["cpus"])
    for number, value in request["rlimits"].items():
        syscalls.limit(int(number), value)
    syscalls.drop_capabilities()
    syscalls.be_opaque(True)
    syscalls.filter_calls(filtered)


def _become_runner(start: socket.socket) -> NoReturn:
    """Become the runner, once the start brings its task."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (_LOG, 1), (_LOG, 2)):
        os.dup2(source, target)
    syscalls.keep_descriptors([_ANSWER, _START])
    with start:
        data, files, _, _ = socket.recv_fds(start, _REQUEST_BYTES, _MOST_DESCRIPTORS)
    if not data:
        os._exit(0)
    syscalls.be_opaque(False)
    task = json.loads(data)
    task = {**task, "answer": _ANSWER, **dict(zip(task["files"], files, strict=True))}
    sys.modules["numpy"].random.seed()
    run_task(task)


def _wait(child: int) -> NoReturn:
    """Collect what dies until the runner does, and end as it ended; the kernel then kills all that is left."""
    syscalls.close_descriptors(0)
    for signalled in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signalled, signal.SIG_IGN)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _send(to: socket.socket, nonce: str, error: BaseException | None, descriptors: Sequence[int] = ()) -> None:
    told = json.dumps({"nonce": nonce, "error": None if error is None else str(error)[:2000]})
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # nobody waits for it any more
        socket.send_fds(to, [told.encode("ascii")], descriptors)


def _close_project_ids() -> None:
    """Write the map of project ids, which can be written once and by anybody, so that no run writes it for all."""
    # Where the machine refuses that to this process, it refuses it to every run too.
    with contextlib.suppress(OSError), open("/proc/self/projid_map", "w", encoding="ascii") as file:
        file.write(_PROJECT_IDS)


def _check_threads() -> None:
    """A thread may hold a lock, which would stay locked in whatever is forked meanwhile."""
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(f"it has {threads} threads and can't be forked")
