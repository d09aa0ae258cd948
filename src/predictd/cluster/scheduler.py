"""Placing orders on the nodes of a Ray cluster, through a driver that is started again when it ends."""

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from predictd.cluster.node.daemon import DONE, GIVEN_BACK
from predictd.cluster.ray_process import parse_address, require_ray
from predictd.domain.errors import OutageError, PlatformError
from predictd.domain.limits import Limits

log = logging.getLogger(__name__)

_AGAIN_SECONDS = 3.0
_STOP_SECONDS = 20.0
_MOST_PLACES = 10_000


class GivenBackError(PlatformError):
    """The node that ran the model is being stopped."""

    code = "given_back"


@dataclass(kw_only=True)
class Placed:
    """An order in the hands of the cluster."""

    number: int
    _ended: threading.Event = field(default_factory=threading.Event)
    _answer: dict[str, Any] | None = None

    def wait(self, seconds: float) -> bool:
        """Whether it ended within that time.

        Raises:
            GivenBackError: the node gave it back.
            OutageError: the cluster is out of reach.
            PlatformError: it could not be carried out, or was lost.
        """
        if not self._ended.wait(seconds):
            return False
        if self._answer == GIVEN_BACK:
            raise GivenBackError
        if self._answer is None:
            raise OutageError("The connection to the Ray cluster was lost.")
        if self._answer != DONE:
            told = self._answer.get("error")
            raise PlatformError(told if isinstance(told, str) else "The node answered nothing that can be read.")
        return True

    def end(self, answer: dict[str, Any] | None) -> None:
        """Let whoever waits know; None says that the cluster is out of reach."""
        self._answer = answer
        self._ended.set()


class Placer:
    """The cluster with that head, as this server sees it.

    Args:
        address: HOST:PORT of the head.
        log: file for what Ray says.
        changed: called when nodes came or went.

    Raises:
        SetupError: Ray is not installed, or the address is none.
    """

    def __init__(self, address: str, log: Path, changed: Callable[[], None] = lambda: None) -> None:
        require_ray()
        parse_address(address)
        self._address = address
        self._log = log
        self.changed = changed
        self._lock = threading.Lock()
        self._placed: dict[int, Placed] = {}
        self._number = 0
        self._nodes: list[dict[str, Any]] = []
        self._process: subprocess.Popen[str] | None = None
        self._closing = threading.Event()
        self._known = threading.Event()
        self._trouble = ""
        self._thread = threading.Thread(target=self._keep, name="ray-driver", daemon=True)
        self._thread.start()

    def wait_until_known(self, seconds: float) -> str:
        """Wait until the nodes are known; answers what is in the way of that, empty if nothing."""
        deadline = time.monotonic() + seconds
        while not self._known.wait(0.1) and not self._trouble and time.monotonic() < deadline:
            pass
        if self._known.is_set():
            return ""
        return self._trouble or f"The Ray head at {self._address} does not answer."

    def nodes(self) -> list[str]:
        """The names of the nodes that run models."""
        return [str(node["name"]) for node in self._nodes]

    def capacity(self, limits: Limits) -> int:
        """Runs of these limits that the cluster has room for, empty as it were."""
        places = 0
        for node in self._nodes:
            by_memory = node["memory"] // limits.memory_bytes
            places += int(min(node["places"], node["cpus"] // _cpus(limits), by_memory))
        return min(places, _MOST_PLACES)

    def place(self, order: str, limits: Limits) -> Placed:
        """Hand an order to the cluster.

        Raises:
            OutageError: the cluster can't be reached.
        """
        with self._lock:
            self._number += 1
            placed = Placed(number=self._number)
            self._placed[placed.number] = placed
        command = {"do": "place", "id": placed.number, "order": order}
        if not self._send(command | {"cpus": _cpus(limits), "memory": limits.memory_bytes}):
            self._forget(placed.number)
            raise OutageError("The Ray cluster can't be reached.")
        return placed

    def cancel(self, placed: Placed) -> None:
        """End it wherever it is; harmless where it has ended."""
        if self._forget(placed.number) is not None:
            self._send({"do": "cancel", "id": placed.number})

    def close(self) -> None:
        """Leave the cluster; what it still runs for this server is ended."""
        self._closing.set()
        self._end_driver()
        self._thread.join()

    def _send(self, command: dict[str, Any]) -> bool:
        with self._lock, suppress(OSError, ValueError):
            if self._process is not None and self._process.stdin is not None and self._known.is_set():
                self._process.stdin.write(json.dumps(command) + "\n")
                self._process.stdin.flush()
                return True
        return False

    def _forget(self, number: int) -> Placed | None:
        with self._lock:
            return self._placed.pop(number, None)

    def _keep(self) -> None:
        """Have a driver as long as the server runs; one that ends takes its orders with it."""
        while not self._closing.is_set():
            try:
                self._drive()
            except Exception:
                log.exception("the driver of Ray failed")
            self._known.clear()
            self._nodes = []
            with self._lock:
                lost, self._placed = list(self._placed.values()), {}
            for placed in lost:
                placed.end(None)
            self._closing.wait(_AGAIN_SECONDS)

    def _drive(self) -> None:
        command = [sys.executable, "-m", "predictd.cluster.driver", self._address, str(self._log)]
        with self._log.open("ab") as log_file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                text=True,
                start_new_session=True,
            )
        with self._lock:
            self._process = process
        if self._closing.is_set():
            self._end_driver()
        assert process.stdout is not None
        try:
            for line in process.stdout:
                self._happened(json.loads(line))
        finally:
            self._end_driver()

    def _happened(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "nodes":
            self._nodes = event["nodes"]
            self._trouble = ""
            self._known.set()
            log.info("nodes: %s", ", ".join(self.nodes()) or "none")
            self.changed()
        elif kind == "failed":
            if event["why"] != self._trouble:
                log.error("%s", event["why"])
            self._trouble = event["why"]
        elif kind in ("ended", "lost"):
            placed = self._forget(event["id"])
            if placed is not None:
                placed.end(_answer(event))

    def _end_driver(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        with suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _cpus(limits: Limits) -> float:
    """Ray takes shares of one processor, and whole numbers of more."""
    return limits.cpus if limits.cpus <= 1 else float(-(-limits.cpus // 1))


def _answer(event: dict[str, Any]) -> dict[str, Any]:
    if event["event"] == "lost":
        return {"error": f"The cluster lost the run: {event['why']}"}
    try:
        answer = json.loads(event["answer"])
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
