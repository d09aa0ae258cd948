"""The server's hand in Ray, as a process of its own: `python -m predictd.cluster.driver ADDRESS LOG`.

Ray ends the process that uses it when the cluster is gone; a server must not end for that. It joins the cluster as a
node that runs nothing, takes commands as lines of JSON on standard input, and tells what happens as lines of JSON on
standard output. When the server is gone, its input ends, so it ends too, and Ray ends the tasks.
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

from predictd.cluster.ray_process import Raylet, member_options, own_address, parse_address, place_options
from predictd.cluster.task import run_order
from predictd.domain.errors import SetupError

_NODES_SECONDS = 1.0
_MOST_TOLD = 300


class Driver:
    """The tasks of one server.

    Args:
        out: takes a line for each thing that happens.
    """

    def __init__(self, out: TextIO) -> None:
        import ray  # noqa: PLC0415 (a server without it says so)

        self._ray: Any = ray
        self._out = out
        self._lock = threading.Lock()
        self._tasks: dict[int, Any] = {}
        self._run_order: Any = ray.remote(run_order)

    def tell(self, **event: object) -> None:
        """One thing that happened, as a line."""
        with self._lock:
            self._out.write(json.dumps(event) + "\n")
            self._out.flush()

    def obey(self, command: dict[str, Any]) -> None:
        """Place an order, or cancel one."""
        number = int(command["id"])
        if command["do"] == "place":
            task = self._run_order.options(
                num_cpus=command["cpus"],
                memory=command["memory"],
                resources={"predictd": 1},
                max_retries=0,
                scheduling_strategy="SPREAD",
            ).remote(command["order"])
            self._tasks[number] = task
            task.future().add_done_callback(lambda future: self._ended(number, future))
            return
        # It may end in this very moment.
        task = self._tasks.get(number)
        if task is not None:
            self._ray.cancel(task, force=True)

    def watch_nodes(self) -> None:
        """Tell which nodes there are, whenever that changes."""
        known = None
        while True:
            found = [
                {
                    "name": node["NodeName"],
                    "cpus": node["Resources"].get("CPU", 0),
                    "memory": node["Resources"].get("memory", 0),
                    "places": node["Resources"]["predictd"],
                }
                for node in self._ray.nodes()
                if node["Alive"] and "predictd" in node["Resources"]
            ]
            found.sort(key=lambda node: str(node["name"]))
            if found != known:
                known = found
                self.tell(event="nodes", nodes=found)
            time.sleep(_NODES_SECONDS)

    def _ended(self, number: int, future: "Future[str]") -> None:
        self._tasks.pop(number, None)
        error = future.exception()
        if error is None:
            self.tell(event="ended", id=number, answer=future.result())
            return
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        told = f"{type(error).__name__}: {lines[-1] if lines else ''}"
        self.tell(event="lost", id=number, why=told[:_MOST_TOLD])


def main() -> None:
    """Join, say that it is there, and obey until the server is gone."""
    address, log = sys.argv[1], Path(sys.argv[2])
    # Whatever else prints, prints to the log.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    logging.basicConfig(level=logging.WARNING)
    try:
        raylet = _joined(address, log)
    except SetupError as error:
        out.write(json.dumps({"event": "failed", "why": error.message}) + "\n")
        out.flush()
        sys.exit(1)
    try:
        driver = Driver(out)
        driver.tell(event="ready")
        threading.Thread(target=driver.watch_nodes, name="nodes", daemon=True).start()
        for line in sys.stdin:
            driver.obey(json.loads(line))
    finally:
        raylet.stop()
        # Ray's own ending would wait for a cluster that may be gone.
        os._exit(0)


def _joined(address: str, log: Path) -> Raylet:
    """Be a node that runs nothing, and this process its driver."""
    host = own_address(*parse_address(address))
    name = f"server-{host}-{os.getpid()}"
    options = place_options(name=name, cpus=0, memory_bytes=0, places=0)
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
