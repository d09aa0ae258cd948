"""The Ray driver of a server, as a separate process: `python -m predictd.cluster.driver ADDRESS LOG`.

Ray ends its driver when the cluster is lost; the server must keep running. The driver joins the cluster as a
node without resources, reads commands as lines of JSON from standard input, and writes events as lines of JSON to
standard output. When the server ends, the input ends, so the driver ends and Ray ends its tasks.
"""

import json
import logging
import os
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TextIO

from predictd.cluster.ray_process import Raylet, local_address, member_options, parse_address, resource_options
from predictd.cluster.task import run_job
from predictd.domain.errors import SetupError

_NODES_SECONDS = 1.0
_MAX_ERROR_LENGTH = 300


class Driver:
    """Submits and cancels the tasks of one server.

    Args:
        out: receives one line per event.
    """

    def __init__(self, out: TextIO) -> None:
        import ray  # noqa: PLC0415 (optional dependency)

        self._ray: Any = ray
        self._out = out
        self._lock = threading.Lock()
        self._tasks: dict[int, Any] = {}
        self._run_job: Any = ray.remote(run_job)

    def emit(self, **event: object) -> None:
        """Write an event as a line."""
        with self._lock:
            self._out.write(json.dumps(event) + "\n")
            self._out.flush()

    def execute(self, command: dict[str, Any]) -> None:
        """Execute a command: submit or cancel a job."""
        number = int(command["id"])
        if command["do"] == "submit":
            task = self._run_job.options(
                num_cpus=command["cpus"],
                memory=command["memory"],
                resources={"predictd": 1},
                max_retries=0,
                scheduling_strategy="SPREAD",
            ).remote(command["job"])
            self._tasks[number] = task
            task.future().add_done_callback(lambda future: self._ended(number, future))
            return
        # The task may have ended.
        task = self._tasks.get(number)
        if task is not None:
            self._ray.cancel(task, force=True)

    def watch_nodes(self) -> None:
        """Emit the list of nodes whenever it changes."""
        previous = None
        while True:
            nodes = [
                {
                    "name": node["NodeName"],
                    "cpus": node["Resources"].get("CPU", 0),
                    "memory": node["Resources"].get("memory", 0),
                    "slots": node["Resources"]["predictd"],
                }
                for node in self._ray.nodes()
                if node["Alive"] and "predictd" in node["Resources"]
            ]
            nodes.sort(key=lambda node: str(node["name"]))
            if nodes != previous:
                previous = nodes
                self.emit(event="nodes", nodes=nodes)
            time.sleep(_NODES_SECONDS)

    def _ended(self, number: int, future: "Future[str]") -> None:
        self._tasks.pop(number, None)
        error = future.exception()
        if error is None:
            self.emit(event="ended", id=number, outcome=future.result())
            return
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        reason = f"{type(error).__name__}: {lines[-1] if lines else ''}"
        self.emit(event="lost", id=number, reason=reason[:_MAX_ERROR_LENGTH])


def main() -> None:
    """Join the cluster, emit `ready` and execute commands until the server ends."""
    address, log = sys.argv[1], Path(sys.argv[2])
    # All other output goes to the log.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    logging.basicConfig(level=logging.WARNING)
    try:
        raylet = _join(address, log)
    except SetupError as error:
        out.write(json.dumps({"event": "failed", "reason": error.message}) + "\n")
        out.flush()
        sys.exit(1)
    try:
        driver = Driver(out)
        driver.emit(event="ready")
        threading.Thread(target=driver.watch_nodes, name="nodes", daemon=True).start()
        for line in sys.stdin:
            driver.execute(json.loads(line))
    finally:
        raylet.stop()
        # Ray's shutdown would wait for a cluster that may be unreachable.
        os._exit(0)


def _join(address: str, log: Path) -> Raylet:
    """Join as a node without resources and make this process its driver."""
    host = local_address(*parse_address(address))
    name = f"server-{host}-{os.getpid()}"
    options = resource_options(name=name, cpus=0, memory_bytes=0, slots=0)
    raylet = Raylet([*member_options(address, host), *options], {}, log)
    raylet.start()
    import ray  # noqa: PLC0415

    try:
        ray.init(
            address=address,
            log_to_driver=False,
            configure_logging=False,
            _temp_dir=str(raylet.folder),
            _node_ip_address=host,
        )
    except Exception as error:
        raylet.stop()
        raise SetupError(f"The Ray cluster at {address} can't be joined: {error}") from error
    return raylet


if __name__ == "__main__":
    main()
