"""Ray on this machine: `ray start` as a child process that ends with this one."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from predictd.cluster import pdeathsig_exec
from predictd.cluster.node.scratch import ScratchFolder
from predictd.domain.errors import SetupError
from predictd.domain.limits import MIB

INSTALL = "pip install '.[server,ray]'"
_START_SECONDS = 90.0
_STOP_SECONDS = 15.0
_CONNECT_SECONDS = 5.0
_STARTED = "Ray runtime started."
# Ray's object store is not used; this is the minimum size.
_STORE_BYTES = 80 * 1000 * 1000
# An unreachable node is reported as lost after some ten seconds.
_HEALTH = {
    "health_check_initial_delay_ms": 5000,
    "health_check_period_ms": 2000,
    "health_check_timeout_ms": 3000,
    "health_check_failure_threshold": 4,
}
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    # Models have their own limits; Ray would end tasks when the memory of the machine is nearly full.
    "RAY_memory_monitor_refresh_ms": "0",
    # Nodes wait for their runs before they stop Ray.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    "PYTHONUNBUFFERED": "1",
}


def require_ray() -> None:
    """Raise SetupError unless Ray is installed."""
    if importlib.util.find_spec("ray") is None:
        raise SetupError(f"The Ray executor needs Ray, which is not installed. In the clone of predictd: {INSTALL}")


def parse_address(address: str) -> tuple[str, int]:
    """Return host and port of the head. Raises SetupError if the address is invalid."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise SetupError(
            f"{address!r} is not the address of a Ray head. Use HOST:PORT, as `predictd node --head` shows it "
            "(--ray-address, PREDICTD_RAY_ADDRESS)."
        )
    return host.strip("[]"), int(port)


def local_address(host: str, port: int) -> str:
    """Return the address from which this machine reaches the host. Raises SetupError if it is unreachable."""
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_SECONDS) as connection:
            return str(connection.getsockname()[0])
    except OSError as error:
        raise SetupError(
            f"The Ray head at {host}:{port} can't be reached: {error.strerror or error}. Start it with "
            "`predictd node --head`, and open its port to this machine."
        ) from error


class Raylet:
    """A node of Ray, with its own folder for sockets and logs.

    Args:
        options: of `ray start`, without the common ones.
        environment: added to the environment of its workers.
        log: file for its output.
    """

    def __init__(self, options: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._scratch = ScratchFolder()
        self.folder = self._scratch.path
        self._options = list(options)
        self._environment = dict(environment)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, is_needed: Callable[[], bool] = lambda: True) -> None:
        """Start Ray and wait until it is ready; call it from a thread that outlives Ray.

        Raises:
            SetupError: Ray did not start; the message has its output.
        """
        common = ["--object-store-memory", str(_STORE_BYTES), "--temp-dir", str(self.folder), "--block"]
        common += ["--disable-usage-stats", "--include-log-monitor=false"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *self._options, *common]
        log_start = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", pdeathsig_exec.__file__, str(os.getpid()), *command],
                env=os.environ | _ENVIRONMENT | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            output = self._read_output(log_start)
            if _STARTED in output:
                return
            if self._process.poll() is not None or time.monotonic() > deadline or not is_needed():
                self.stop()
                raise SetupError(f"Ray did not start here: {_reason(output)} (see {self._log})")
            time.sleep(0.05)

    @property
    def is_running(self) -> bool:
        """Return whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop Ray and all of its processes."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._scratch.close()

    def _read_output(self, log_start: int) -> str:
        with self._log.open("rb") as log:
            log.seek(log_start)
            return log.read(MIB).decode("utf-8", "replace")


def head_options(host: str, port: int) -> list[str]:
    """Return the options of the head of a cluster, without Ray's dashboard."""
    options = ["--head", "--port", str(port), "--node-ip-address", host, "--include-dashboard=false"]
    return [*options, "--system-config", json.dumps(_HEALTH)]


def member_options(address: str, host: str) -> list[str]:
    """Return the options of a member of the cluster with that head."""
    return ["--address", address, "--node-ip-address", host]


def resource_options(*, name: str, cpus: float, memory_bytes: int, slots: int) -> list[str]:
    """Return the options for the resources of a node; without slots it runs nothing."""
    options = ["--node-name", name, "--num-cpus", str(int(cpus)), "--memory", str(memory_bytes), "--num-gpus", "0"]
    return [*options, "--resources", json.dumps({"predictd": slots} if slots else {})]


def _reason(output: str) -> str:
    """Return the most informative line of Ray's output."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if any("ersion mismatch" in line for line in lines):
        at = next(number for number, line in enumerate(lines) if "ersion mismatch" in line)
        return "its version of Ray or Python differs from the head's: " + " ".join(lines[at : at + 7])[:500]
    if "InvalidAuthToken" in output:
        return (
            "the cluster requires a token that this machine does not have. Set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN_PATH to a file with the head's token"
        )
    errors = [line for line in lines if "Error" in line or "error" in line]
    return (errors or lines or ["no output"])[-1][:400]
