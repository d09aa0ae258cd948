"""Warm parents: one process a runtime and slot that has imported what models import, and is forked for each run."""

import array
import contextlib
import json
import logging
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from predictd.domain.errors import PlatformError
from predictd.domain.runs import RunRequest, RuntimePaths
from predictd.sandbox.command import INSIDE, environment_inside, where_inside
from predictd.sandbox.groups import ResourceGroup
from predictd.sandbox.launch import (
    data_files,
    file_limits,
    parent_sandbox,
    processes_are_counted_inside,
    seccomp_program,
    start,
    task_of,
    user_of,
)
from predictd.sandbox.launched import Launched, ends, wait_for
from predictd.sandbox.opened import opened_read_only

log = logging.getLogger(__name__)

_START_SECONDS = 60.0
_ANSWER_SECONDS = 20.0
_DEATH_SECONDS = 10.0
_REST_SECONDS = 60.0
_HIDDEN = f"{INSIDE}/host"
_BYTES = 64 * 1024
_MOST_RECEIVED = 4


class CannotFork(Exception):
    """There is no warm parent for this run; it starts cold."""


@dataclass(frozen=True)
class _Key:
    """What a parent is for; one of another key can't take its runs."""

    runtime: RuntimePaths
    built: tuple[int, int]
    slot: int
    environment: tuple[tuple[str, str], ...]
    counts_all_memory: bool
    imports: tuple[str, ...]


class WarmParents:
    """The warm parents of a server; each is started when its first run comes.

    Args:
        most: of them at once; the one that was idle longest makes room.
        folders: where the files of runs lie. Without root, a run whose files lie elsewhere starts cold.
        only: no run starts cold: one that can't be forked is the platform's failure.
    """

    def __init__(self, most: int, folders: Sequence[Path] = (), *, only: bool = False) -> None:
        self.only = only
        self._most = most
        self._folders = tuple(folders)
        self._parents: dict[_Key, _Parent] = {}
        self._used: dict[_Key, float] = {}
        self._failed: dict[_Key, float] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """End all of them, and the runs that were forked from them."""
        with self._lock:
            parents = list(self._parents.values())
            self._parents.clear()
        for parent in parents:
            parent.close()

    @contextmanager
    def forked(self, request: RunRequest, group: ResourceGroup) -> Iterator[Launched]:
        """Start the run from its warm parent, as `launch.launched` does without one.

        Raises:
            CannotFork: there is none; nothing was started.
        """
        key = _key(request, group)
        with ExitStack() as stack:
            for attempt in range(2):
                parent = self._parent(key, request)
                try:
                    launched = parent.fork(request, group, stack)
                    break
                except (OSError, CannotFork) as error:
                    log.warning("a warm parent is replaced: %s", error)
                    self._forget(key, parent)
                    if attempt == 1:
                        raise CannotFork(str(error)) from error
            yield launched

    def _parent(self, key: _Key, request: RunRequest) -> "_Parent":
        with self._lock:
            self._used[key] = time.monotonic()
            if key in self._parents:
                return self._parents[key]
            if time.monotonic() - self._failed.get(key, -_REST_SECONDS) < _REST_SECONDS:
                raise CannotFork("it did not start a moment ago")
        try:
            parent = _Parent(key, request, self._folders)
        except (OSError, CannotFork, PlatformError) as error:
            with self._lock:
                self._failed[key] = time.monotonic()
            log.warning("no warm parent of Python %s: %s", key.runtime.version, error)
            raise CannotFork(str(error)) from error
        with self._lock:
            # Nobody else makes one of this key: a slot has one run at a time.
            self._parents[key] = parent
            removed = self._superfluous(key)
        for one in removed:
            one.close()
        return parent

    def _superfluous(self, newest: _Key) -> "list[_Parent]":
        """Those of runtimes that were built anew, and the longest idle beyond the most; taken out."""
        stale = [k for k in self._parents if k.runtime == newest.runtime and k.built != newest.built]
        idle = sorted((k for k in self._parents if k not in stale and k != newest), key=lambda k: self._used[k])
        idle = [k for k in idle if not self._parents[k].is_busy]
        stale += idle[: max(0, len(self._parents) - len(stale) - self._most)]
        return [self._parents.pop(k) for k in stale]

    def _forget(self, key: _Key, parent: "_Parent") -> None:
        with self._lock:
            if self._parents.get(key) is parent:
                del self._parents[key]
        parent.close()


class _Parent:
    """One warm parent; forks one run at a time.

    Raises:
        CannotFork: it did not start.
    """

    def __init__(self, key: _Key, request: RunRequest, folders: Sequence[Path]) -> None:
        self.is_busy = False
        self._hidden = () if user_of(request.slot) is not None else tuple(folders)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # A pipe, as a run's log is one: Python treats the two kinds of files differently.
        said, output = os.pipe()
        try:
            binds = {f"{_HIDDEN}/{number}": folder for number, folder in enumerate(self._hidden)}
            filtered = seccomp_program(counts_all_memory=key.counts_all_memory)
            with parent_sandbox(request, theirs.fileno(), filtered, key.imports, binds) as (config, passed):
                self._process = start(config, passed, output)
            theirs.close()
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
            theirs.close()
            os.close(said)
            os.close(output)

    def close(self) -> None:
        """End it, and with it what was forked from it."""
        self._socket.close()
        process: subprocess.Popen[bytes] | None = getattr(self, "_process", None)
        if process is None:
            return
        if not wait_for(process.pid, 1.0):
            process.kill()
        process.wait()

    def fork(self, request: RunRequest, group: ResourceGroup, stack: ExitStack) -> "WarmRun":
        """Start the run; its pipes are closed with the stack.

        Raises:
            OSError, CannotFork: it was not started.
        """
        files = data_files(request)
        with ExitStack() as passed:

            def keep(descriptor: int) -> int:
                passed.callback(os.close, descriptor)
                return descriptor

            reads, writes = [], []
            for _ in ("answer", "log", "end"):
                read, write = os.pipe()
                stack.callback(os.close, read)
                reads.append(read)
                writes.append(keep(write))
            task = task_of(-1, {}, request.limits.processes if processes_are_counted_inside() else None)
            task |= {"packages": str(where_inside(request.runtime).packages)}
            descriptors = list(writes)
            hidden = None
            if user_of(request.slot) is not None:
                descriptors += [keep(opened_read_only(Path(path))) for path in files.values()]
            else:
                hidden = _HIDDEN
                task |= {name: self._inside(path) for name, path in files.items()}
            descriptors += [keep(os.open(path, os.O_WRONLY)) for path in group.joins]
            limits = request.limits
            rlimits = {**file_limits(limits), **group.rlimits}
            told = {
                "task": task,
                "files": list(files),
                "hidden": hidden,
                "rlimits": {getattr(resource, name): value for name, value in rlimits.items()},
                "cpus": group.processors,
                "scratch": limits.scratch_bytes,
                "shared": max(limits.scratch_bytes // 4, 1),
            }
            self.is_busy = True
            stack.callback(setattr, self, "is_busy", False)
            socket.send_fds(self._socket, [json.dumps(told).encode()], descriptors)
        # Of the parent and of the first process, in whichever order.
        got = dict(self._answer(stack) for _ in range(2))
        process = got["process"][0]
        group.watch(_pid_of(process), got["scratch"])
        return WarmRun(process, *reads)

    def _answer(self, stack: ExitStack) -> tuple[str, Sequence[int]]:
        """What a packet brings, and its descriptors, which are closed with the stack."""
        received = array.array("i")
        data, ancillary, _, _ = self._socket.recvmsg(
            _BYTES, socket.CMSG_SPACE(_MOST_RECEIVED * received.itemsize), socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received.frombytes(content[: len(content) - len(content) % received.itemsize])
        for descriptor in received:
            stack.callback(os.close, descriptor)
        if not received:
            raise CannotFork(data.decode("utf-8", "replace") or "it has ended")
        return data.decode(), list(received)

    def _inside(self, path: str) -> str:
        for number, folder in enumerate(self._hidden):
            if Path(path).is_relative_to(folder):
                return f"{_HIDDEN}/{number}/{Path(path).relative_to(folder)}"
        raise CannotFork(f"{path} lies outside of the folders of runs")


class WarmRun:
    """A run that was forked from a warm parent; see Launched. `process` is a pidfd of its first process."""

    def __init__(self, process: int, answer: int, log: int, ended: int) -> None:
        self.answer = answer
        self.log = log
        self.ended = ended
        self._process = process

    def exit_code(self) -> int:
        """See Launched.

        Raises:
            PlatformError: the parent has ended and did not tell.
        """
        told = os.read(self.ended, 16)
        if not told:
            raise PlatformError("The warm parent of the run ended before it.")
        return int(told)

    def started(self) -> None:
        """See Launched."""

    def kill(self) -> None:
        """See Launched; the first process of a pid namespace dies only after all others in it have."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        if not ends(self._process, _DEATH_SECONDS):
            log.error("processes of a run outlived SIGKILL")

    def release(self) -> None:
        """See Launched; the parent collects it."""


def _key(request: RunRequest, group: ResourceGroup) -> _Key:
    found = request.runtime.packages.stat()
    return _Key(
        runtime=request.runtime,
        built=(found.st_ino, found.st_mtime_ns),
        slot=request.slot,
        environment=tuple(environment_inside(request.runtime, request.limits).items()),
        counts_all_memory=group.counts_all_memory,
        imports=request.imports,
    )


def _pid_of(process: int) -> int:
    """The number of the process of a pidfd, as this server sees it; -1 when it is gone."""
    lines = Path(f"/proc/self/fdinfo/{process}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))
