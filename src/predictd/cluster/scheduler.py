"""Submit jobs to a Ray cluster through a driver process, which is restarted when it ends."""

import json
import logging
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from predictd.cluster.node.daemon import DONE, REQUEUED
from predictd.cluster.ray_process import parse_address, require_ray
from predictd.domain.errors import OutageError, PlatformError
from predictd.domain.limits import Limits

log = logging.getLogger(__name__)

_RESTART_SECONDS = 3.0
_STOP_SECONDS = 20.0
_MAX_SLOTS = 10_000


class JobRequeuedError(PlatformError):
    """The job must run again, because its node is stopping."""

    code = "requeued"


@dataclass(kw_only=True)
class SubmittedJob:
    """A job that was submitted to the cluster."""

    number: int
    _has_ended: threading.Event = field(default_factory=threading.Event)
    _outcome: dict[str, Any] | None = None

    def wait(self, seconds: float) -> bool:
        """Wait for the job and return whether it ended in time.

        Raises:
            JobRequeuedError: Its node is stopping.
            OutageError: The cluster is unreachable.
            PlatformError: It could not be executed, or was lost.
        """
        if not self._has_ended.wait(seconds):
            return False
        if self._outcome == REQUEUED:
            raise JobRequeuedError
        if self._outcome is None:
            raise OutageError("The connection to the Ray cluster was lost.")
        if self._outcome != DONE:
            message = self._outcome.get("error")
            raise PlatformError(message if isinstance(message, str) else "The node returned an invalid outcome.")
        return True

    def finish(self, outcome: dict[str, Any] | None) -> None:
        """Set the outcome; None means that the cluster is unreachable."""
        self._outcome = outcome
        self._has_ended.set()


class ClusterScheduler:
    """Submits jobs to the cluster with that head.

    Args:
        address: HOST:PORT of the head.
        log: file for Ray's output.

    Raises:
        SetupError: Ray is not installed, or the address is invalid.
    """

    def __init__(self, address: str, log: Path) -> None:
        require_ray()
        parse_address(address)
        self._address = address
        self._log = log
        self._lock = threading.Lock()
        self._jobs: dict[int, SubmittedJob] = {}
        self._number = 0
        self._nodes: list[dict[str, Any]] = []
        self._process: subprocess.Popen[str] | None = None
        self._closing = threading.Event()
        self._nodes_known = threading.Event()
        self._problem = ""
        self._thread = threading.Thread(target=self._supervise, name="ray-driver", daemon=True)
        self._thread.start()

    def wait_for_nodes(self, seconds: float) -> str:
        """Wait until the nodes are known; return the problem, empty if there is none."""
        deadline = time.monotonic() + seconds
        while not self._nodes_known.wait(0.1) and not self._problem and time.monotonic() < deadline:
            pass
        if self._nodes_known.is_set():
            return ""
        return self._problem or f"The Ray head at {self._address} does not respond."

    def nodes(self) -> list[str]:
        """Return the names of the nodes that run models."""
        return [str(node["name"]) for node in self._nodes]

    def capacity(self, limits: Limits) -> int:
        """Return the number of runs with these limits that an idle cluster can run at once."""
        slots = 0
        for node in self._nodes:
            by_memory = node["memory"] // limits.memory_bytes
            slots += int(min(node["slots"], node["cpus"] // _cpus(limits), by_memory))
        return min(slots, _MAX_SLOTS)

    def submit(self, spec: str, limits: Limits) -> SubmittedJob:
        """Submit a job to the cluster.

        Raises:
            OutageError: The cluster is unreachable.
        """
        with self._lock:
            self._number += 1
            job = SubmittedJob(number=self._number)
            self._jobs[job.number] = job
        command = {"do": "submit", "id": job.number, "job": spec}
        if not self._send(command | {"cpus": _cpus(limits), "memory": limits.memory_bytes}):
            self._forget(job.number)
            raise OutageError("The Ray cluster is unreachable.")
        return job

    def cancel(self, job: SubmittedJob) -> None:
        """Cancel the job; do nothing if it has ended."""
        if self._forget(job.number) is not None:
            self._send({"do": "cancel", "id": job.number})

    def close(self) -> None:
        """Leave the cluster; its jobs of this server are cancelled."""
        self._closing.set()
        self._stop_driver()
        self._thread.join()

    def _send(self, command: dict[str, Any]) -> bool:
        with self._lock, suppress(OSError, ValueError):
            if self._process is not None and self._process.stdin is not None and self._nodes_known.is_set():
                self._process.stdin.write(json.dumps(command) + "\n")
                self._process.stdin.flush()
                return True
        return False

    def _forget(self, number: int) -> SubmittedJob | None:
        with self._lock:
            return self._jobs.pop(number, None)

    def _supervise(self) -> None:
        """Restart the driver while the server runs; the jobs of a driver end with it."""
        while not self._closing.is_set():
            try:
                self._run_driver()
            except Exception:
                log.exception("the driver of Ray failed")
            self._nodes_known.clear()
            self._nodes = []
            with self._lock:
                lost_jobs, self._jobs = list(self._jobs.values()), {}
            for job in lost_jobs:
                job.finish(None)
            self._closing.wait(_RESTART_SECONDS)

    def _run_driver(self) -> None:
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
            self._stop_driver()
        assert process.stdout is not None
        try:
            for line in process.stdout:
                self._handle_event(json.loads(line))
        finally:
            self._stop_driver()

    def _handle_event(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "nodes":
            self._nodes = event["nodes"]
            self._problem = ""
            self._nodes_known.set()
            log.info("nodes: %s", ", ".join(self.nodes()) or "none")
        elif kind == "failed":
            if event["reason"] != self._problem:
                log.error("%s", event["reason"])
            self._problem = event["reason"]
        elif kind in ("ended", "lost"):
            job = self._forget(event["id"])
            if job is not None:
                job.finish(_parse_outcome(event))

    def _stop_driver(self) -> None:
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
    """Return processors for Ray, which accepts fractions below 1 and whole numbers above."""
    return limits.cpus if limits.cpus <= 1 else float(-(-limits.cpus // 1))


def _parse_outcome(event: dict[str, Any]) -> dict[str, Any]:
    if event["event"] == "lost":
        return {"error": f"The cluster lost the run: {event['reason']}"}
    try:
        outcome = json.loads(event["outcome"])
    except ValueError:
        return {}
    return outcome if isinstance(outcome, dict) else {}
