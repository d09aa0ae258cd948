"""The fork servers of a server (`PREDICTD_WARM_PARENTS`): one per runtime, slot and set of imports."""

import logging
import resource
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from predictd.domain.errors import PlatformError
from predictd.domain.runs import RunRequest, RuntimePaths
from predictd.sandbox.fork_server import CannotForkError, ForkedRun, ForkServer
from predictd.sandbox.handle import RunHandle
from predictd.sandbox.launch import run_environment
from predictd.sandbox.resource_group import ResourceGroup

log = logging.getLogger(__name__)

_RETRY_SECONDS = 60.0


@dataclass(frozen=True)
class _Key:
    """The runs that a fork server can start: those with the same key."""

    runtime: RuntimePaths
    built: tuple[int, int]
    slot: int
    environment: tuple[tuple[str, str], ...]
    imports: tuple[str, ...]


class ForkPool:
    """Starts fork servers on demand and forks runs from them.

    Args:
        max_servers: number of fork servers; the one that has been idle longest is replaced.
        folders: folders with the files of runs. Without root, a run with files elsewhere can't be forked.
        fork_only: no run starts cold; a run that can't be forked is a failure of the platform.

    Attributes:
        forked_count: number of runs that were forked.
        refused_count: number of runs that could not be forked.
    """

    def __init__(self, max_servers: int, folders: Sequence[Path] = (), *, fork_only: bool = False) -> None:
        self.fork_only = fork_only
        self._max_servers = max_servers
        self._folders = tuple(folders)
        self._servers: dict[_Key, ForkServer] = {}
        self._used_at: dict[_Key, float] = {}
        self._failed_at: dict[_Key, float] = {}
        self._lock = threading.Lock()
        self.forked_count = 0
        self.refused_count = 0
        # Descriptors in flight to a fork server count against a limit of the user, of which a run of the same user may
        # use a part.
        max_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max_files, max_files))

    def close(self) -> None:
        """Stop all fork servers and the runs that were forked from them."""
        with self._lock:
            servers = list(self._servers.values())
            self._servers.clear()
        for server in servers:
            server.close()

    @contextmanager
    def forked(self, request: RunRequest) -> Iterator[tuple[RunHandle, ResourceGroup]]:
        """Fork the run and return it with its resource group; the counterpart of `launch.launch_process`.

        On exit the group and the pipes are closed, but nothing is killed.

        Raises:
            CannotForkError: No run was started.
        """
        try:
            server, run = self._fork(request)
        except CannotForkError:
            with self._lock:
                self.refused_count += 1
            raise
        with self._lock:
            self.forked_count += 1
        try:
            yield run, run.group
        finally:
            run.close()
            server.lock.release()

    def _fork(self, request: RunRequest) -> tuple[ForkServer, ForkedRun]:
        key = _key(request)
        if request.imports and self._failed_recently(key):
            # One of these modules can't be forked.
            request = replace(request, imports=())
            key = _key(request)
        server = self._acquire(key, request)
        try:
            return server, server.run(request)
        except CannotForkError as error:
            # It may have been killed; try once with a new fork server.
            log.warning("a fork server is replaced: %s", error)
            self._remove(key, server)
        server = self._acquire(key, request)
        try:
            return server, server.run(request)
        except CannotForkError:
            self._remove(key, server)
            raise

    def _acquire(self, key: _Key, request: RunRequest) -> ForkServer:
        """Return the fork server for that key with its `lock` acquired; the caller releases it."""
        with self._lock:
            self._used_at[key] = time.monotonic()
            server = self._servers.get(key)
            if server is not None:
                if not server.lock.acquire(blocking=False):
                    raise CannotForkError("another run of this slot is being forked from it")
                return server
            if self._failed_recently(key):
                raise CannotForkError("it failed to start recently")
        try:
            server = ForkServer(request, self._folders)
        except (OSError, CannotForkError, PlatformError) as error:
            with self._lock:
                self._failed_at[key] = time.monotonic()
            log.warning("no fork server for Python %s: %s", key.runtime.version, error)
            raise CannotForkError(str(error)) from error
        server.lock.acquire()
        with self._lock:
            removed = self._pop_stale(key)
            if key in self._servers:  # started by another thread in the meantime
                removed.append(self._servers.pop(key))
            self._servers[key] = server
        for stale in removed:
            stale.close()
        return server

    def _failed_recently(self, key: _Key) -> bool:
        return time.monotonic() - self._failed_at.get(key, -_RETRY_SECONDS) < _RETRY_SECONDS

    def _pop_stale(self, newest: _Key) -> list[ForkServer]:
        """Remove and return the servers of rebuilt runtimes, and the longest idle ones above the maximum."""
        idle = [key for key, server in self._servers.items() if server.lock.acquire(blocking=False)]
        stale = [key for key in idle if key.runtime == newest.runtime and key.built != newest.built]
        oldest = sorted((key for key in idle if key not in stale and key != newest), key=lambda key: self._used_at[key])
        stale += oldest[: max(0, len(self._servers) + 1 - len(stale) - self._max_servers)]
        for key in idle:
            if key not in stale:
                self._servers[key].lock.release()
        return [self._servers.pop(key) for key in stale]

    def _remove(self, key: _Key, server: ForkServer) -> None:
        with self._lock:
            if self._servers.get(key) is server:
                del self._servers[key]
        server.close()


def _key(request: RunRequest) -> _Key:
    status = request.runtime.packages.stat()
    return _Key(
        runtime=request.runtime,
        built=(status.st_ino, status.st_mtime_ns),
        slot=request.slot,
        environment=tuple(run_environment(request).items()),
        imports=request.imports,
    )
