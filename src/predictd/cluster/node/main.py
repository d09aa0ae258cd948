"""A node of a cluster: Ray as a child process, and the daemon that executes jobs."""

import fcntl
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

from predictd.cluster.node.daemon import Daemon, NodeResources
from predictd.cluster.node.objects import open_cache
from predictd.cluster.node.runtime_cache import RuntimeCache
from predictd.cluster.node.scratch import ScratchFolder
from predictd.cluster.ray_process import (
    Raylet,
    head_options,
    local_address,
    member_options,
    parse_address,
    require_ray,
    resource_options,
)
from predictd.cluster.task import SOCKET
from predictd.data.mapped_cache import MappedCache
from predictd.domain.errors import SetupError
from predictd.domain.limits import GIB, MIB
from predictd.domain.runs import SandboxKind
from predictd.sandbox import ForkPool, choose_sandbox
from predictd.settings import Settings

_CHECK_SECONDS = 0.5
_RESTART_SECONDS = 5.0
_DRAIN_TIMEOUT_SECONDS = 20

Show = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class NodeCapacity:
    """The resources of this node for runs: concurrent runs, processors, bytes of memory."""

    slots: int
    cpus: int
    memory_bytes: int


def run_node(settings: Settings, *, is_head: bool, name: str, show: Show) -> None:
    """Run a node until SIGTERM or SIGINT, then finish its runs or requeue them within `drain_seconds`.

    Args:
        is_head: whether this machine is the head of the cluster at `ray_address`; otherwise it joins it.
        name: of the node in the cluster; empty means the name of the machine.
        show: called with a line about progress.

    Raises:
        SetupError: The machine can't isolate models, Ray is missing or of another version, or the head is unreachable.
    """
    require_ray()
    host, port = parse_address(settings.ray_address)
    capacity = node_capacity(settings)
    kind = settings.sandbox
    if capacity.slots:
        kind, problems = choose_sandbox(settings.sandbox, trust_users=settings.trust_users)
        show(f"Models run without isolation, because of --trust-users: {problems}" if problems else "Isolation: ok.")
    home = settings.home / "node"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = _lock(home)
    stopping = _on_signals()
    name = name or platform.node()
    fork_pool = _open_fork_pool(settings, home, kind, capacity)
    objects = open_cache(home / "objects", settings.node_cache_gb * 10**9)
    resources = NodeResources(
        name=name,
        kind=kind,
        trees=settings.trees,
        fork_pool=fork_pool,
        mapped=MappedCache(folder=home / "mapped", limit=settings.mapped_cache_gb * 10**9),
        objects=objects,
        runtimes=RuntimeCache(settings.runtimes_home, objects, show),
    )
    node = _Node(settings, home, capacity, is_head=is_head, name=name, host=host, port=port, show=show)
    try:
        daemon = Daemon(node.socket, capacity.slots, resources, show)
        node.start(stopping)
        node.supervise(stopping)
        show(f"Stopping: no new runs start; {daemon.running_count} running ones may take {settings.drain_seconds:g} s.")
        # In parallel, because it may take seconds, which belong to the runs.
        draining = threading.Thread(target=node.drain, args=(settings.drain_seconds,), name="draining")
        draining.start()
        daemon.drain(settings.drain_seconds)
        draining.join()
    finally:
        node.close()
        if fork_pool is not None:
            fork_pool.close()
        lock.close()
    show("Stopped.")


def node_capacity(settings: Settings) -> NodeCapacity:
    """Return the capacity from the settings and the machine. A head with `workers` below 0 runs nothing."""
    cpus = len(os.sched_getaffinity(0))
    memory = settings.node_memory_mb * MIB or _machine_memory() * 9 // 10
    if settings.workers < 0:
        return NodeCapacity(slots=0, cpus=0, memory_bytes=0)
    slots = settings.workers or cpus
    return NodeCapacity(slots=slots, cpus=max(cpus, slots), memory_bytes=memory)


class _Node:
    """Ray on this machine, restarted until the node stops."""

    def __init__(
        self,
        settings: Settings,
        home: Path,
        capacity: NodeCapacity,
        *,
        is_head: bool,
        name: str,
        host: str,
        port: int,
        show: Show,
    ) -> None:
        self._settings = settings
        self._home = home
        self._capacity = capacity
        self._is_head = is_head
        self._name = name
        self._host, self._port = host, port
        self._show = show
        self._raylet: Raylet | None = None
        self._scratch = ScratchFolder()
        self.socket = self._scratch.path / "jobs"

    def start(self, stopping: threading.Event) -> None:
        address = f"{self._host}:{self._port}"
        host = _resolve(self._host) if self._is_head else local_address(self._host, self._port)
        cluster_options = head_options(host, self._port) if self._is_head else member_options(address, host)
        own_resources = resource_options(
            name=self._name,
            cpus=self._capacity.cpus,
            memory_bytes=self._capacity.memory_bytes,
            slots=self._capacity.slots,
        )
        self._show(f"Starting the head of a Ray cluster at {address}." if self._is_head else f"Joining {address}.")
        self._raylet = Raylet([*cluster_options, *own_resources], {SOCKET: str(self.socket)}, self._home / "ray.log")
        self._raylet.start(lambda: not stopping.is_set())
        summary = f"{self._capacity.slots} at once, {self._capacity.memory_bytes / GIB:.1f} GiB"
        self._show(
            f"The node {self._name} ({host}) is ready: {summary if self._capacity.slots else 'it runs no models'}."
        )
        if self._is_head:
            self._show(f"Other machines join with: predictd node --address {address}")
            self._show(f"A server uses it with: predictd serve --executor ray --ray-address {address}")

    def supervise(self, stopping: threading.Event) -> None:
        """Restart Ray when it ends, until the node stops."""
        while not stopping.wait(_CHECK_SECONDS):
            if self._raylet is not None and self._raylet.is_running:
                continue
            self._show("Ray has ended on this machine; its head may be unreachable. Restarting it.")
            self.stop()
            try:
                self.start(stopping)
            except SetupError as error:
                self._show(error.message)
                stopping.wait(_RESTART_SECONDS)

    def drain(self, seconds: float) -> None:
        """Stop Ray from scheduling tasks on this node."""
        address = f"{self._host}:{self._port}"
        command = [sys.executable, "-m", "predictd.cluster.node.drain_node", address, self._name, str(int(seconds))]
        try:
            subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_DRAIN_TIMEOUT_SECONDS, check=True
            )
        except (OSError, subprocess.SubprocessError):
            # The daemon requeues jobs that still arrive.
            self._show("Ray could not be notified that this node stops.")

    def stop(self) -> None:
        if self._raylet is not None:
            self._raylet.stop()
            self._raylet = None

    def close(self) -> None:
        """Stop Ray and remove the files of this process."""
        self.stop()
        self._scratch.close()


def _resolve(host: str) -> str:
    """Return the IP address of a host name, which Ray requires."""
    try:
        return socket.gethostbyname(host)
    except OSError as error:
        raise SetupError(f"{host} is not an address of this machine: {error.strerror}.") from error


def _open_fork_pool(settings: Settings, home: Path, kind: SandboxKind, capacity: NodeCapacity) -> ForkPool | None:
    max_servers = 4 * capacity.slots if settings.warm_parents < 0 else settings.warm_parents
    if kind is not SandboxKind.BUBBLEWRAP or not max_servers:
        return None
    folders = [home / "objects", home / "mapped"]
    for folder in folders:
        folder.mkdir(mode=0o700, exist_ok=True)
    return ForkPool(max_servers, folders)


def _lock(home: Path) -> TextIOWrapper:
    file = (home / "node.lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise SetupError(f"Another node runs in {home}; stop it, or choose another folder with --data-dir.") from error
    return file


def _on_signals() -> threading.Event:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    return stopping


def _machine_memory() -> int:
    """Return the bytes of memory of this machine, or of this container."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdecimal() else total
