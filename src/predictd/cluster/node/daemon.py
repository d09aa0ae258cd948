"""The daemon of a node: accepts jobs from the Ray tasks on this node, and runs each in a sandbox.

It owns what runs share: fork servers, mapped data, fetched objects and runtimes.
"""

import json
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, LifoQueue

from predictd.cluster.job_result import write_result
from predictd.cluster.job_spec import MAX_SPEC_BYTES, JobSpec
from predictd.cluster.node.heartbeat import HeartbeatReporter
from predictd.cluster.node.objects import acquire_object, put
from predictd.cluster.node.runtime_cache import RuntimeCache
from predictd.data.mapped_cache import MappedCache
from predictd.domain.errors import CancelledError, PlatformError
from predictd.domain.runs import RunReport, RunRequest, SandboxKind
from predictd.file_cache import FileCache
from predictd.sandbox import ForkPool, run
from predictd.sandbox.import_hints import likely_imports

log = logging.getLogger(__name__)

DONE: dict[str, object] = {"done": True}
REQUEUED: dict[str, object] = {"requeued": True}
_RECEIVE_SECONDS = 30.0
_MAX_MESSAGE = 1000
_REFUSED_SECONDS = 1.0
_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True, kw_only=True)
class NodeResources:
    """What all runs of a node share.

    Attributes:
        name: of the node, for the server's log.
        kind: the kind of sandbox.
        trees: whether to use compiled tables instead of the tree libraries.
    """

    name: str
    kind: SandboxKind
    trees: bool
    fork_pool: ForkPool | None
    mapped: MappedCache
    objects: FileCache
    runtimes: RuntimeCache


class Daemon:
    """Serves a Unix socket, one connection per job.

    Args:
        path: of the socket; only this user must be able to reach it.
        slots: maximum number of concurrent runs; others wait.
        show: called with a line about progress.
    """

    def __init__(self, path: Path, slots: int, resources: NodeResources, show: Callable[[str], None]) -> None:
        self._resources = resources
        self._show = show
        # The slot that was used last has a fork server.
        self._slots: LifoQueue[int] = LifoQueue()
        for slot in reversed(range(slots)):
            self._slots.put(slot)
        self._lock = threading.Lock()
        self._jobs: dict[int, threading.Event] = {}
        self._number = 0
        self._draining = threading.Event()
        self._requeuing = threading.Event()
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(256)
        self._thread = threading.Thread(target=self._accept, name="jobs", daemon=True)
        self._thread.start()

    @property
    def running_count(self) -> int:
        """Return the number of running jobs."""
        with self._lock:
            return len(self._jobs)

    def drain(self, seconds: float) -> None:
        """Accept no more jobs, wait for the running ones, then requeue those that have not ended."""
        self._draining.set()
        deadline = time.monotonic() + seconds
        while self.running_count and time.monotonic() < deadline:
            time.sleep(0.1)
        self._requeuing.set()
        with self._lock:
            for cancel in self._jobs.values():
                cancel.set()
        deadline = time.monotonic() + 10
        while self.running_count and time.monotonic() < deadline:
            time.sleep(0.05)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), name="job", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """Execute one job; the task always gets an outcome or sees the connection close."""
        cancel = threading.Event()
        with self._lock:
            self._number += 1
            number = self._number
            self._jobs[number] = cancel
        with connection:
            try:
                connection.settimeout(_RECEIVE_SECONDS)
                spec = JobSpec.parse(_receive_spec(connection))
                connection.settimeout(None)
                with _log_context(spec.run_id, spec.attempt):
                    outcome: dict[str, object] = self._execute(spec, connection, cancel)
            except PlatformError as error:
                outcome = {"error": error.message[:_MAX_MESSAGE]}
            except Exception:
                log.exception("a job failed")
                outcome = {"error": f"The node {self._resources.name} failed unexpectedly; see its log."}
            finally:
                with self._lock:
                    del self._jobs[number]
            with suppress(OSError):
                connection.sendall(json.dumps(outcome).encode() + b"\n")

    def _execute(self, spec: JobSpec, connection: socket.socket, cancel: threading.Event) -> dict[str, object]:
        if self._draining.is_set():
            # Ray may not have drained the node yet, and would schedule the job here again immediately.
            cancel.wait(_REFUSED_SECONDS)
            return REQUEUED
        watcher = threading.Thread(target=_watch_connection, args=(connection, cancel), name="job-watcher", daemon=True)
        watcher.start()
        started_at = time.monotonic()
        label = f"{spec.run_id} (attempt {spec.attempt})"
        self._show(f"Run {label} started.")
        ending = "failed on this node"
        try:
            report = self._run(spec, cancel)
            ending = "succeeded" if report.failure is None else f"failed ({report.failure.code})"
        except CancelledError:
            if self._requeuing.is_set():
                ending = "was requeued"
                return REQUEUED
            ending = "was cancelled"
            return {"error": "The run was cancelled."}
        except PlatformError as error:
            ending = f"did not run: {error.message}"
            raise
        finally:
            self._show(f"Run {label} {ending} after {time.monotonic() - started_at:.1f} s.")
            # Ends the watcher's read.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
            watcher.join()
        return DONE

    def _run(self, spec: JobSpec, cancel: threading.Event) -> RunReport:
        """Run the model and upload the result."""
        reporter = HeartbeatReporter(
            spec.report_url,
            spec.report_token,
            node=self._resources.name,
            heartbeat_seconds=spec.heartbeat_seconds,
            lease_seconds=spec.lease_seconds,
            max_buffered_bytes=spec.limits.log_kept_bytes,
            lost=cancel,
        )
        try:
            with self._slot(cancel) as slot, ExitStack() as files:
                request = self._request(spec, slot, files, cancel)
                resources = self._resources
                report = run(
                    request, on_log=reporter.write, cancel=cancel, kind=resources.kind, fork_pool=resources.fork_pool
                )
            put(spec.result_url, write_result(report), cancel)
            if report.tables is not None:
                report.tables.close()
            return report
        except CancelledError:
            if reporter.lost_reason:
                raise PlatformError(
                    f"The node {self._resources.name} stopped the run: {reporter.lost_reason}."
                ) from None
            raise
        finally:
            reporter.close()

    @contextmanager
    def _slot(self, cancel: threading.Event) -> Iterator[int]:
        """Acquire a slot number that no other run of this node has; wait until one is free."""
        while True:
            if cancel.is_set():
                raise CancelledError
            with suppress(Empty):
                slot = self._slots.get(timeout=0.2)
                break
        try:
            yield slot
        finally:
            self._slots.put(slot)

    def _request(self, spec: JobSpec, slot: int, files: ExitStack, cancel: threading.Event) -> RunRequest:
        """Fetch the files of the job, available until `files` is closed."""
        resources = self._resources
        runtime = resources.runtimes.get(spec.runtime, spec.lock, cancel)
        features = files.enter_context(acquire_object(resources.objects, spec.features, cancel))
        live = files.enter_context(
            resources.mapped.held(features, spec.features.sha256, without_targets=spec.without_targets)
        )
        benchmarks = None
        if spec.benchmarks is not None:
            fetched = files.enter_context(acquire_object(resources.objects, spec.benchmarks, cancel))
            benchmarks = files.enter_context(resources.mapped.held(fetched, spec.benchmarks.sha256))
        pickle = files.enter_context(acquire_object(resources.objects, spec.pickle, cancel))
        tables = None
        if spec.tables is not None and resources.trees:
            tables = files.enter_context(acquire_object(resources.objects, spec.tables, cancel))
        return RunRequest(
            pickle=pickle,
            live=live,
            benchmarks=benchmarks,
            runtime=runtime,
            limits=spec.limits,
            slot=slot,
            imports=likely_imports(pickle) if spec.imports is None else spec.imports,
            proven=spec.proven,
            trees=spec.trees and resources.trees,
            tables=tables,
            keep_tables=spec.keep_tables and resources.trees,
            seed=spec.seed,
        )


def _log_context(run_id: str, attempt: int) -> AbstractContextManager[object]:
    """Bind the run to the log lines of this thread; do nothing on a node without structlog."""
    try:
        from structlog.contextvars import bound_contextvars  # noqa: PLC0415 (optional on a node)
    except ModuleNotFoundError:
        return nullcontext()
    return bound_contextvars(run=run_id, attempt=attempt)


def _receive_spec(connection: socket.socket) -> bytes:
    """Receive the job spec from the task. Raises PlatformError if it is incomplete or from another user."""
    uid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[1]
    if uid != os.geteuid():
        raise PlatformError("The job comes from another user of this machine.")
    try:
        (size,) = struct.unpack(">I", _receive_exactly(connection, 4))
        if size > MAX_SPEC_BYTES:
            raise PlatformError(f"The job spec is larger than {MAX_SPEC_BYTES} bytes.")
        return _receive_exactly(connection, size)
    except OSError as error:
        raise PlatformError("The job spec is incomplete.") from error


def _receive_exactly(connection: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = connection.recv(size - len(content))
        if not part:
            raise ConnectionError
        content += part
    return content


def _watch_connection(connection: socket.socket, cancel: threading.Event) -> None:
    """Cancel the run when the connection of its task closes; the task sends nothing more."""
    with suppress(OSError):
        while connection.recv(64):
            pass
    cancel.set()
