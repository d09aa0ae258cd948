"""One machine that runs models for a cluster: Ray as a child process, and the daemon that carries orders out."""

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

from predictd.cluster.node.daemon import Daemon, Keeping
from predictd.cluster.node.object_cache import ObjectCache
from predictd.cluster.node.runtime_cache import KeptRuntimes
from predictd.cluster.node.scratch import ScratchFolder
from predictd.cluster.ray_process import (
    Raylet,
    head_options,
    member_options,
    own_address,
    parse_address,
    place_options,
    require_ray,
)
from predictd.cluster.task import SOCKET
from predictd.data.mapped_cache import MappedCache
from predictd.domain.errors import SetupError
from predictd.domain.limits import GIB, MIB
from predictd.domain.runs import SandboxKind
from predictd.sandbox import WarmParents, choose_sandbox
from predictd.settings import Settings

_LOOK_SECONDS = 0.5
_AGAIN_SECONDS = 5.0
_DRAIN_MARGIN = 20

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What this machine gives to runs: so many at once, cores, bytes of memory."""

    places: int
    cpus: int
    memory_bytes: int


def run_node(settings: Settings, *, is_head: bool, name: str, say: Say) -> None:
    """Be a node until SIGTERM or SIGINT, then finish its runs or give them back within `drain_seconds`.

    Args:
        is_head: whether this machine is the head of the cluster, at `ray_address`; else it joins the one there.
        name: by which the cluster tells it; empty means the name of the machine.
        say: told in a line what goes on.

    Raises:
        SetupError: the machine can't isolate models, Ray is missing or of another version, or the head is out of reach.
    """
    require_ray()
    host, port = parse_address(settings.ray_address)
    offer = offer_of(settings)
    kind = settings.sandbox
    if offer.places:
        kind, missing = choose_sandbox(settings.sandbox, trust_users=settings.trust_users)
        say(f"Models run without isolation, because --trust-users says so: {missing}" if missing else "Isolation: ok.")
    home = settings.home / "node"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = _lock(home)
    stopping = _on_signals()
    name = name or platform.node()
    parents = _parents(settings, home, kind, offer)
    objects = ObjectCache(home / "objects", settings.objects_gb * 10**9)
    keeping = Keeping(
        name=name,
        kind=kind,
        trees=settings.trees,
        parents=parents,
        mapped=MappedCache(folder=home / "mapped", limit=settings.mapped_gb * 10**9),
        objects=objects,
        runtimes=KeptRuntimes(settings.runtimes_home, objects, say),
    )
    node = _Node(settings, home, offer, is_head=is_head, name=name, host=host, port=port, say=say)
    try:
        daemon = Daemon(node.socket, offer.places, keeping, say)
        node.start(stopping)
        node.keep(stopping)
        say(f"Stopping: no more runs are taken; {daemon.running} on their way get {settings.drain_seconds:g} s.")
        # Beside it, because Ray may take seconds for that, which are the runs'.
        telling = threading.Thread(target=node.drain, args=(settings.drain_seconds,), name="draining")
        telling.start()
        daemon.drain(settings.drain_seconds)
        telling.join()
    finally:
        node.close()
        if parents is not None:
            parents.close()
        lock.close()
    say("Stopped.")


def offer_of(settings: Settings) -> Offer:
    """What the settings and the machine give. A head with `workers` below 0 runs nothing."""
    cpus = len(os.sched_getaffinity(0))
    memory = settings.node_memory_mb * MIB or _machine_memory() * 9 // 10
    if settings.workers < 0:
        return Offer(places=0, cpus=0, memory_bytes=0)
    places = settings.workers or cpus
    return Offer(places=places, cpus=max(cpus, places), memory_bytes=memory)


class _Node:
    """Ray on this machine, started again as long as it is wanted."""

    def __init__(
        self, settings: Settings, home: Path, offer: Offer, *, is_head: bool, name: str, host: str, port: int, say: Say
    ) -> None:
        self._settings = settings
        self._home = home
        self._offer = offer
        self._is_head = is_head
        self._name = name
        self._host, self._port = host, port
        self._say = say
        self._raylet: Raylet | None = None
        self._scratch = ScratchFolder()
        self.socket = self._scratch.path / "orders"

    def start(self, stopping: threading.Event) -> None:
        address = f"{self._host}:{self._port}"
        host = _resolved(self._host) if self._is_head else own_address(self._host, self._port)
        joined = head_options(host, self._port) if self._is_head else member_options(address, host)
        offered = place_options(
            name=self._name,
            cpus=self._offer.cpus,
            memory_bytes=self._offer.memory_bytes,
            places=self._offer.places,
        )
        self._say(f"Starting the head of a Ray cluster at {address}." if self._is_head else f"Joining {address}.")
        self._raylet = Raylet([*joined, *offered], {SOCKET: str(self.socket)}, self._home / "ray.log")
        self._raylet.start(lambda: not stopping.is_set())
        what = f"{self._offer.places} at once, {self._offer.memory_bytes / GIB:.1f} GiB"
        self._say(f"The node {self._name} ({host}) is ready: {what if self._offer.places else 'it runs no models'}.")
        if self._is_head:
            self._say(f"Other machines join with: predictd node --address {address}")
            self._say(f"A server uses it with: predictd serve --executor ray --ray-address {address}")

    def keep(self, stopping: threading.Event) -> None:
        """Start Ray again when it ends, until this node is to stop."""
        while not stopping.wait(_LOOK_SECONDS):
            if self._raylet is not None and self._raylet.is_running:
                continue
            self._say("Ray has ended here; its head may be gone. Starting it again.")
            self.stop()
            try:
                self.start(stopping)
            except SetupError as error:
                self._say(error.message)
                stopping.wait(_AGAIN_SECONDS)

    def drain(self, seconds: float) -> None:
        """Have Ray place nothing here any more."""
        address = f"{self._host}:{self._port}"
        command = [sys.executable, "-m", "predictd.cluster.drain_node", address, self._name, str(int(seconds))]
        try:
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_DRAIN_MARGIN, check=True)
        except (OSError, subprocess.SubprocessError):
            # The daemon gives back whatever comes all the same.
            self._say("Ray could not be told that this node stops.")

    def stop(self) -> None:
        if self._raylet is not None:
            self._raylet.stop()
            self._raylet = None

    def close(self) -> None:
        """End Ray and leave no file of this process."""
        self.stop()
        self._scratch.close()


def _resolved(host: str) -> str:
    """The address of a host; Ray takes no names for its own."""
    try:
        return socket.gethostbyname(host)
    except OSError as error:
        raise SetupError(f"{host} is no address of this machine: {error.strerror}.") from error


def _parents(settings: Settings, home: Path, kind: SandboxKind, offer: Offer) -> WarmParents | None:
    most = 4 * offer.places if settings.warm_parents < 0 else settings.warm_parents
    if kind is not SandboxKind.BUBBLEWRAP or not most:
        return None
    folders = [home / "objects", home / "mapped"]
    for folder in folders:
        folder.mkdir(mode=0o700, exist_ok=True)
    return WarmParents(most, folders)


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
    """Bytes of memory of this machine, or of the container that this is."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdecimal() else total
