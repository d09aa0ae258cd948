"""The daemon of a node: takes orders from the tasks that Ray places here, and carries each out in a sandbox.

It owns what is worth keeping from run to run: warm parents, mapped data, fetched objects, runtimes.
"""

import json
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, LifoQueue

from predictd.cluster.job_result import write_answer
from predictd.cluster.job_spec import MOST_BYTES, Order
from predictd.cluster.named import named
from predictd.cluster.node.heartbeat import Reporter
from predictd.cluster.node.object_cache import ObjectCache, put
from predictd.cluster.node.runtime_cache import KeptRuntimes
from predictd.data.mapped_cache import MappedCache
from predictd.domain.errors import CancelledError, PlatformError
from predictd.domain.runs import RunReport, RunRequest, SandboxKind
from predictd.sandbox import WarmParents, run
from predictd.sandbox.import_hints import likely_imports

log = logging.getLogger(__name__)

DONE: dict[str, object] = {"done": True}
GIVEN_BACK: dict[str, object] = {"given_back": True}
_HELLO_SECONDS = 30.0
_MOST_TOLD = 1000
_REFUSED_SECONDS = 1.0
_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What a node keeps, and in what its runs are isolated.

    Attributes:
        name: of the node, as the server's log tells it.
        kind: what isolates runs.
        trees: whether compiled tables may answer for the tree libraries here.
    """

    name: str
    kind: SandboxKind
    trees: bool
    parents: WarmParents | None
    mapped: MappedCache
    objects: ObjectCache
    runtimes: KeptRuntimes


class Daemon:
    """Answers at a Unix socket, one connection for each order.

    Args:
        path: of the socket; nobody but this user must be able to reach it.
        places: runs at once; further ones wait.
        say: told in a line what goes on.
    """

    def __init__(self, path: Path, places: int, keeping: Keeping, say: Callable[[str], None]) -> None:
        self._keeping = keeping
        self._say = say
        # The one that was free last has the warm parents.
        self._slots: LifoQueue[int] = LifoQueue()
        for slot in reversed(range(places)):
            self._slots.put(slot)
        self._lock = threading.Lock()
        self._running: dict[int, threading.Event] = {}
        self._number = 0
        self._draining = threading.Event()
        self._given_back = threading.Event()
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(256)
        self._thread = threading.Thread(target=self._accept, name="orders", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """Orders that are being carried out."""
        with self._lock:
            return len(self._running)

    def drain(self, seconds: float) -> None:
        """Take no more orders, wait for the runs, then give back those that have not ended."""
        self._draining.set()
        deadline = time.monotonic() + seconds
        while self.running and time.monotonic() < deadline:
            time.sleep(0.1)
        self._given_back.set()
        with self._lock:
            for cancel in self._running.values():
                cancel.set()
        deadline = time.monotonic() + 10
        while self.running and time.monotonic() < deadline:
            time.sleep(0.05)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), name="order", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """One order from its arrival to the answer; whatever happens, the task is told or sees the connection end."""
        cancel = threading.Event()
        with self._lock:
            self._number += 1
            number = self._number
            self._running[number] = cancel
        with connection:
            try:
                connection.settimeout(_HELLO_SECONDS)
                order = Order.read(_received(connection))
                connection.settimeout(None)
                with named(order.trigger_id, order.attempt):
                    answer: dict[str, object] = self._carried_out(order, connection, cancel)
            except PlatformError as error:
                answer = {"error": error.message[:_MOST_TOLD]}
            except Exception:
                log.exception("an order failed")
                answer = {"error": f"The node {self._keeping.name} failed in a way that it did not expect."}
            finally:
                with self._lock:
                    del self._running[number]
            with suppress(OSError):
                connection.sendall(json.dumps(answer).encode() + b"\n")

    def _carried_out(self, order: Order, connection: socket.socket, cancel: threading.Event) -> dict[str, object]:
        if self._draining.is_set():
            # Ray may not know yet, and would place it here again at once.
            cancel.wait(_REFUSED_SECONDS)
            return GIVEN_BACK
        watcher = threading.Thread(target=_watch, args=(connection, cancel), name="order-watcher", daemon=True)
        watcher.start()
        began = time.monotonic()
        what = f"{order.trigger_id} (attempt {order.attempt})"
        self._say(f"Trigger {what} is taken.")
        ended = "failed on this node's side"
        try:
            report = self._run(order, cancel)
            ended = "answered" if report.failure is None else f"failed ({report.failure.code})"
        except CancelledError:
            if self._given_back.is_set():
                ended = "was given back"
                return GIVEN_BACK
            ended = "was cancelled"
            return {"error": "The run was cancelled."}
        except PlatformError as error:
            ended = f"did not run: {error.message}"
            raise
        finally:
            self._say(f"Trigger {what} {ended} after {time.monotonic() - began:.1f} s.")
            # Ends the watcher's read.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
            watcher.join()
        return DONE

    def _run(self, order: Order, cancel: threading.Event) -> RunReport:
        """Carry the order out and bring the answer."""
        reporter = Reporter(
            order.report_url,
            order.report_token,
            node=self._keeping.name,
            beat_seconds=order.beat_seconds,
            lease_seconds=order.lease_seconds,
            kept_bytes=order.limits.log_kept_bytes,
            gone=cancel,
        )
        try:
            with self._slot(cancel) as slot, ExitStack() as files:
                request = self._request(order, slot, files, cancel)
                keeping = self._keeping
                report = run(request, on_log=reporter.write, cancel=cancel, kind=keeping.kind, parents=keeping.parents)
            put(order.answer_url, write_answer(report), cancel)
            if report.tables is not None:
                report.tables.close()
            return report
        except CancelledError:
            if reporter.why_gone:
                raise PlatformError(f"The node {self._keeping.name} gave the run up: {reporter.why_gone}.") from None
            raise
        finally:
            reporter.close()

    @contextmanager
    def _slot(self, cancel: threading.Event) -> Iterator[int]:
        """A number that no other run of this node has; waits for one that is free."""
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

    def _request(self, order: Order, slot: int, files: ExitStack, cancel: threading.Event) -> RunRequest:
        """The order's files on this node, there until `files` is closed."""
        keeping = self._keeping
        runtime = keeping.runtimes.get(order.runtime, order.lock, cancel)
        features = files.enter_context(keeping.objects.held(order.features, cancel))
        live = files.enter_context(
            keeping.mapped.held(features, order.features.sha256, without_targets=order.without_targets)
        )
        benchmarks = None
        if order.benchmarks is not None:
            fetched = files.enter_context(keeping.objects.held(order.benchmarks, cancel))
            benchmarks = files.enter_context(keeping.mapped.held(fetched, order.benchmarks.sha256))
        pickle = files.enter_context(keeping.objects.held(order.pickle, cancel))
        tables = None
        if order.tables is not None and keeping.trees:
            tables = files.enter_context(keeping.objects.held(order.tables, cancel))
        return RunRequest(
            pickle=pickle,
            live=live,
            benchmarks=benchmarks,
            runtime=runtime,
            limits=order.limits,
            slot=slot,
            imports=likely_imports(pickle) if order.imports is None else order.imports,
            proven=order.proven,
            trees=order.trees and keeping.trees,
            tables=tables,
            keep_tables=order.keep_tables and keeping.trees,
            seed=order.seed,
        )


def _received(connection: socket.socket) -> bytes:
    """The order that the task sends. Raises PlatformError where it is none, or from another user."""
    uid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[1]
    if uid != os.geteuid():
        raise PlatformError("The order comes from another user of this machine.")
    try:
        (size,) = struct.unpack(">I", _exactly(connection, 4))
        if size > MOST_BYTES:
            raise PlatformError(f"The order is larger than {MOST_BYTES} bytes.")
        return _exactly(connection, size)
    except OSError as error:
        raise PlatformError("The order did not arrive whole.") from error


def _exactly(connection: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = connection.recv(size - len(content))
        if not part:
            raise ConnectionError
        content += part
    return content


def _watch(connection: socket.socket, cancel: threading.Event) -> None:
    """The task sends nothing more: when its connection ends, nobody waits for the run any longer."""
    with suppress(OSError):
        while connection.recv(64):
            pass
    cancel.set()
