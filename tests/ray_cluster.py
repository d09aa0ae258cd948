"""A Ray cluster on this machine: a head and nodes, each a machine of its own by its network namespace.

Started only by whoever asks for it; needs root and `ip` (iproute2).
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from conftest import PREDICTD, RUNTIMES
from predictd.cluster.node.scratch import ScratchFolder

START_SECONDS = 90
PORT = 6379


class NoNetworksError(RuntimeError):
    """This machine can't make networks; the message says why."""


@dataclass(kw_only=True)
class Machine:
    """One machine of the cluster: a namespace with an address, and `predictd node` in it."""

    name: str
    namespace: str
    address: str
    options: list[str]
    environment: dict[str, str]
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None
    began: int = 0

    @property
    def log(self) -> str:
        return (self.folder / "node.log").read_text(errors="replace")

    def start(self) -> "Machine":
        """Start `predictd node` and wait until it is ready."""
        return self.begin().wait()

    def wait(self) -> "Machine":
        """Wait until it is ready."""
        deadline = time.monotonic() + START_SECONDS
        while "is ready" not in self.log[self.began :]:
            assert self.process is not None
            assert self.process.poll() is None, f"the node ended:\n{self.log}"
            assert time.monotonic() < deadline, f"the node is not ready:\n{self.log}"
            time.sleep(0.05)
        return self

    def begin(self) -> "Machine":
        """Start it, without waiting."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.began = len(self.log) if (self.folder / "node.log").exists() else 0
        command = [PREDICTD, "node", "--name", self.name, "--data-dir", str(self.folder / "data"), *self.options]
        with (self.folder / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, *command],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end and wait for that."""
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(60)

    def power_off(self) -> None:
        """Everything on it is gone at once: Ray, the daemon, the sandboxes."""
        assert self.process is not None
        doomed = [self.process.pid, *(child.pid for child in self.processes())]
        listed = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=True)
        for pid in {*doomed, *map(int, listed.stdout.split())}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)

    def processes(self) -> list[psutil.Process]:
        """What runs below `predictd node`."""
        assert self.process is not None
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def cut_off(self, *, on: bool) -> None:
        """Pull its cable out, or put it in again."""
        state = "down" if on else "up"
        subprocess.run(["ip", "-n", self.namespace, "link", "set", "eth0", state], check=True)


@dataclass(kw_only=True)
class RayCluster:
    """A head that runs nothing, and nodes.

    Attributes:
        address: HOST:PORT of the head, for --ray-address.
        here: this machine's own address in that network.
        environment: what servers need to be let in.
    """

    address: str
    here: str
    environment: dict[str, str]
    head: Machine
    nodes: list[Machine] = field(default_factory=list)

    def node_with(self, run_id: str, attempt: int = 1, seconds: float = 30) -> Machine:
        """The node that has taken the run."""
        deadline = time.monotonic() + seconds
        while True:
            for node in self.nodes:
                if f"Run {run_id} (attempt {attempt}) started." in node.log:
                    return node
            assert time.monotonic() < deadline, f"no node has taken {run_id}"
            time.sleep(0.05)


@contextmanager
def ray_cluster(folder: Path, *, nodes: int = 2, places: int = 2, **settings: object) -> Iterator[RayCluster]:
    """Start a cluster (some ten seconds) and stop it at the end; settings are PREDICTD_* of the nodes.

    Raises:
        NoNetworksError: this machine can't make networks.
    """
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise NoNetworksError("A cluster of several machines needs root and iproute2 (apt-get install iproute2).")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PREDICTD_", "NUMERAI"))}
    # Whoever lacks the token can't use the cluster.
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
    environment |= secret | {"UV_OFFLINE": "1", "PREDICTD_RUNTIMES_DIR": str(RUNTIMES)}
    environment |= {f"PREDICTD_{name.upper()}": str(value) for name, value in settings.items()}
    number = os.getpid() % 250
    with _network(number, nodes + 1) as addresses:
        here, (head_address, *others) = f"198.18.{number}.1", addresses
        address = f"{head_address[1]}:{PORT}"

        def machine(name: str, at: tuple[str, str], *options: str) -> Machine:
            return Machine(
                name=name,
                namespace=at[0],
                address=at[1],
                options=["--address", address, *options],
                environment=environment,
                folder=folder / name,
            )

        head = machine("head", head_address, "--head", "--workers", "-1")
        cluster = RayCluster(address=address, here=here, environment=secret, head=head)
        offered = ("--workers", str(places), "--memory-mb", "8000")
        cluster.nodes = [machine(f"node-{count}", at, *offered) for count, at in enumerate(others)]
        try:
            head.start()
            for node in [node.begin() for node in cluster.nodes]:
                node.wait()
            yield cluster
        finally:
            for one in (*cluster.nodes, head):
                if one.process is not None and one.process.poll() is None:
                    one.power_off()
            # As the next node would, of what was left of those that were powered off.
            ScratchFolder().close()


@contextmanager
def _network(number: int, machines: int) -> Iterator[list[tuple[str, str]]]:
    """A bridge of this machine with namespaces at it; answers each one's name and address."""
    bridge = f"prd{number}"
    names = [f"prd{number}-{count}" for count in range(machines)]
    try:
        _ip(f"link add {bridge} type bridge")
        _ip(f"addr add 198.18.{number}.1/24 dev {bridge}")
        _ip(f"link set {bridge} up")
        found = []
        for count, name in enumerate(names):
            address = f"198.18.{number}.{count + 10}"
            _ip(f"netns add {name}")
            _ip(f"link add {bridge}v{count} type veth peer name eth0 netns {name}")
            _ip(f"link set {bridge}v{count} master {bridge} up")
            _ip(f"-n {name} addr add {address}/24 dev eth0")
            _ip(f"-n {name} link set eth0 up")
            _ip(f"-n {name} link set lo up")
            found.append((name, address))
        yield found
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", bridge], capture_output=True, check=False)


def _ip(arguments: str) -> None:
    done = subprocess.run(["ip", *arguments.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoNetworksError(f"ip {arguments}: {done.stderr.strip()}")
