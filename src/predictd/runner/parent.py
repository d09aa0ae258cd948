"""A warm parent: has imported what models import, holds nothing of any user's, and is forked for each run.

Runs in a sandbox of its own that sees what a run sees. Its argument is JSON: `packages` (folder), `socket` and `filter`
(descriptors; the compiled filter of system calls), `imports` (modules to have). It is told of runs on the socket, one
packet a request:

    open       paths to open for a run, which can't open them itself; alone. Answered by `opened` with the descriptors
    rlimits    {number of a resource.RLIMIT_*: value}
    cpus       processors to stay on, or null
    scratch, shared   bytes of /tmp and of /dev/shm
    hidden     folder that a run does not see, or null
    descriptors, in this order: the answer, the log, the end, the start, the group's lists of members

The latter makes a run that waits for its task, and is answered by two packets: `process` with a descriptor of its first
process, and `scratch` with those of its /tmp and /dev/shm once they are there. What goes wrong is told in words, with
no descriptor. The start brings the task (JSON, `files` names those of its values that the packet's descriptors stand
for). When the run has ended, its exit code (128 and the number for a signal) is written to the end as text; nothing is,
where its first process was killed.
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
from typing import Any, NoReturn

from . import kernel
from .main import prepare, run_task

_REQUEST_BYTES = 64 * 1024
_MOST_DESCRIPTORS = 32


def main() -> NoReturn:
    """Serve runs until the server closes the socket."""
    told = json.loads(sys.argv[1])
    sys.argv[1:] = []
    server = socket.socket(fileno=told["socket"])
    with os.fdopen(told["filter"], "rb") as file:
        filtered = file.read()
    try:
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
        if "open" in request:
            self._open(request["open"])
            return
        end = descriptors[2]
        try:
            _check_threads()
            pid, pidfd = kernel.clone_into_namespaces()
            if pid == 0:
                self._become_first(request, descriptors)
        except Exception as error:  # noqa: BLE001 (told to the server)
            self._server.send(str(error)[:2000].encode("utf-8", "replace"))
            os.close(end)
        else:
            socket.send_fds(self._server, [b"process"], [pidfd])
            self._pids[pidfd] = pid
            self._ends[pid] = end
            self._poll.register(pidfd, select.POLLIN)
        for descriptor in descriptors:
            if descriptor != end:
                os.close(descriptor)

    def _open(self, paths: list[str]) -> None:
        opened: list[int] = []
        try:
            for path in paths:
                opened.append(os.open(path, os.O_RDONLY))
            socket.send_fds(self._server, [b"opened"], opened)
        except OSError as error:
            self._server.send(str(error).encode("utf-8", "replace"))
        for descriptor in opened:
            os.close(descriptor)

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

    def _become_first(self, request: dict[str, Any], descriptors: list[int]) -> NoReturn:
        try:
            kernel.die_with_parent()
            first = _First(request, descriptors, self._filter)
            socket.send_fds(self._server, [b"scratch"], first.enter())
            child = os.fork()
        except BaseException as error:  # noqa: BLE001 (nothing of the user's has run yet)
            self._server.send(str(error)[:2000].encode("utf-8", "replace"))
            os._exit(1)
        if child == 0:
            first.run()
        first.wait(child)


class _First:
    """The first process of a run's pid namespace, and what it makes the runner of."""

    def __init__(self, request: dict[str, Any], descriptors: list[int], filtered: bytes) -> None:
        self._request = request
        self._answer, self._log, _, self._start = descriptors[:4]
        self._groups = descriptors[4:]
        self._filter = filtered

    def enter(self) -> list[int]:
        """Join the groups, make the private mounts, and give up every privilege; descriptors of the scratch."""
        request = self._request
        for group in self._groups:
            os.write(group, b"0")
        kernel.unshare(kernel.CLONE_NEWCGROUP)
        kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
        flags = kernel.MS_NOSUID | kernel.MS_NODEV
        kernel.mount("proc", "/proc", "proc", flags | kernel.MS_NOEXEC)
        kernel.mount("tmpfs", "/tmp", "tmpfs", flags, f"mode=1777,size={request['scratch']}")  # noqa: S108
        kernel.mount("tmpfs", "/dev/shm", "tmpfs", flags, f"mode=1777,size={request['shared']}")  # noqa: S108
        os.chdir("/tmp")  # noqa: S108
        if request["hidden"] is not None:
            # Covered, because a mount of the parent's can't be removed here.
            kernel.mount("tmpfs", request["hidden"], "tmpfs", flags | kernel.MS_RDONLY, "mode=555,size=4k")
        os.setsid()
        if request["cpus"]:
            os.sched_setaffinity(0, request["cpus"])
        for number, value in request["rlimits"].items():
            _limit(int(number), value)
        kernel.drop_capabilities()
        kernel.filter_calls(self._filter)
        kernel.be_opaque(True)
        return [os.open(folder, os.O_RDONLY) for folder in ("/tmp", "/dev/shm")]  # noqa: S108

    def run(self) -> NoReturn:
        """Become the runner, once the start brings its task."""
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (self._log, 1), (self._log, 2)):
            os.dup2(source, target)
        kept = sorted([self._answer, self._start])
        for low, high in zip([2, *kept], [*kept, _open_files()], strict=True):
            os.closerange(low + 1, high)
        with socket.socket(fileno=self._start) as start:
            data, files, _, _ = socket.recv_fds(start, _REQUEST_BYTES, _MOST_DESCRIPTORS)
        if not data:
            os._exit(0)
        kernel.be_opaque(False)
        task = json.loads(data)
        task = {**task, "answer": self._answer, **dict(zip(task["files"], files, strict=True))}
        sys.modules["numpy"].random.seed()
        run_task(task)

    def wait(self, child: int) -> NoReturn:
        """Collect what dies until the runner does, and end as it ended; the kernel then kills all that is left."""
        os.closerange(0, _open_files())
        for signalled in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signalled, signal.SIG_IGN)
        while True:
            pid, status = os.wait()
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)


def _check_threads() -> None:
    """A thread may hold a lock, which would stay locked in whatever is forked meanwhile."""
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(f"it has {threads} threads and can't be forked")


def _limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    most = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (most, most))


def _open_files() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
