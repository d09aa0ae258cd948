"""The warm parents of a server: which there are, for which runs, and until when."""

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
from predictd.sandbox.fork_server import CannotFork, WarmParent, WarmRun
from predictd.sandbox.handle import Launched
from predictd.sandbox.launch import environment_of
from predictd.sandbox.resource_group import ResourceGroup

log = logging.getLogger(__name__)

_REST_SECONDS = 60.0


@dataclass(frozen=True)
class _Key:
    """What a parent is for; one of another key can't take its runs."""

    runtime: RuntimePaths
    built: tuple[int, int]
    slot: int
    environment: tuple[tuple[str, str], ...]
    imports: tuple[str, ...]


class WarmParents:
    """The warm parents of a server; each is started when its first run comes.

    Args:
        most: of them at once; the one that was idle longest makes room.
        folders: where the files of runs lie. Without root, a run whose files lie elsewhere starts cold.
        only: no run starts cold: one that can't be forked is the platform's failure.

    Attributes:
        forked_count: runs that were forked.
        refused_count: runs that could not be forked.
    """

    def __init__(self, most: int, folders: Sequence[Path] = (), *, only: bool = False) -> None:
        self.only = only
        self._most = most
        self._folders = tuple(folders)
        self._parents: dict[_Key, WarmParent] = {}
        self._used: dict[_Key, float] = {}
        self._failed: dict[_Key, float] = {}
        self._lock = threading.Lock()
        self.forked_count = 0
        self.refused_count = 0
        # Descriptors on their way to a parent count against a limit of the user, of which a run of the same user may
        # take up a part.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def close(self) -> None:
        """End all of them, and the runs that were forked from them."""
        with self._lock:
            parents = list(self._parents.values())
            self._parents.clear()
        for parent in parents:
            parent.close()

    @contextmanager
    def forked(self, request: RunRequest) -> Iterator[tuple[Launched, ResourceGroup]]:
        """Start the run from its warm parent, as `launch.launched` does without one; with its resource group.

        On leaving, the group and the pipes are closed, but nothing is killed.

        Raises:
            CannotFork: there is none; nothing was started.
        """
        try:
            parent, run = self._fork(request)
        except CannotFork:
            with self._lock:
                self.refused_count += 1
            raise
        with self._lock:
            self.forked_count += 1
        try:
            yield run, run.group
        finally:
            run.close()
            parent.is_free.release()

    def _fork(self, request: RunRequest) -> tuple[WarmParent, WarmRun]:
        key = _key(request)
        if request.imports and self._rests(key):
            # One of these modules does not bear to be forked.
            request = replace(request, imports=())
            key = _key(request)
        parent = self._take(key, request)
        try:
            return parent, parent.run(request)
        except CannotFork as error:
            # It may have been killed; a new one is as good as the first.
            log.warning("a warm parent is replaced: %s", error)
            self._forget(key, parent)
        parent = self._take(key, request)
        try:
            return parent, parent.run(request)
        except CannotFork:
            self._forget(key, parent)
            raise

    def _take(self, key: _Key, request: RunRequest) -> WarmParent:
        """The parent of that key, taken for one run: whoever gets it releases its `is_free`."""
        with self._lock:
            self._used[key] = time.monotonic()
            parent = self._parents.get(key)
            if parent is not None:
                if not parent.is_free.acquire(blocking=False):
                    raise CannotFork("another run of this slot is forked from it")
                return parent
            if self._rests(key):
                raise CannotFork("it did not start a moment ago")
        try:
            parent = WarmParent(request, self._folders)
        except (OSError, CannotFork, PlatformError) as error:
            with self._lock:
                self._failed[key] = time.monotonic()
            log.warning("no warm parent of Python %s: %s", key.runtime.version, error)
            raise CannotFork(str(error)) from error
        parent.is_free.acquire()
        with self._lock:
            removed = self._superfluous(key)
            if key in self._parents:  # made by another thread meanwhile
                removed.append(self._parents.pop(key))
            self._parents[key] = parent
        for one in removed:
            one.close()
        return parent

    def _rests(self, key: _Key) -> bool:
        return time.monotonic() - self._failed.get(key, -_REST_SECONDS) < _REST_SECONDS

    def _superfluous(self, newest: _Key) -> list[WarmParent]:
        """Those of runtimes that were built anew, and the longest idle beyond the most; taken out."""
        idle = [key for key, parent in self._parents.items() if parent.is_free.acquire(blocking=False)]
        stale = [key for key in idle if key.runtime == newest.runtime and key.built != newest.built]
        others = sorted((key for key in idle if key not in stale and key != newest), key=lambda key: self._used[key])
        stale += others[: max(0, len(self._parents) + 1 - len(stale) - self._most)]
        for key in idle:
            if key not in stale:
                self._parents[key].is_free.release()
        return [self._parents.pop(key) for key in stale]

    def _forget(self, key: _Key, parent: WarmParent) -> None:
        with self._lock:
            if self._parents.get(key) is parent:
                del self._parents[key]
        parent.close()


def _key(request: RunRequest) -> _Key:
    found = request.runtime.packages.stat()
    return _Key(
        runtime=request.runtime,
        built=(found.st_ino, found.st_mtime_ns),
        slot=request.slot,
        environment=tuple(environment_of(request).items()),
        imports=request.imports,
    )
