"""What strikes: one class a fault, each with how it begins and how it ends."""

import contextlib
import importlib.util
import os
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil
import sqlalchemy as sa

from database import PostgresMissingError, find_postgresql
from faults.system import System
from predictd.db import Database
from predictd.db.models import Run, RunStatus
from predictd.domain.reasons import KILLED
from predictd.domain.states import RunState
from s3 import RCLONE

_RUNNER, _FIRST, _SCORER, _PARENT, _LAUNCHER = (
    "a runner",
    "the first process of a run",
    "a scorer",
    "a warm parent",
    "a launcher",
)
_WORKERS = (_RUNNER, _FIRST, _SCORER, _PARENT, _LAUNCHER)
FINAL = [state for state in RunState if state.is_final]
# Most live but for a moment.
_HUNT_SECONDS = 4.0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Begins with `strike`, which answers what it did, or None where there was nothing to strike; `heal` ends it.

    `needs` are keyword arguments of System; `holds` are the least and the most seconds between the two. `missing` tells
    what this machine lacks for it, None if nothing.
    """

    strike: Callable[[System, random.Random], str | None]
    heal: Callable[[System], None] = lambda system: None
    needs: Sequence[str] = ()
    holds: tuple[float, float] = (0.0, 0.0)
    missing: Callable[[], str | None] = lambda: None


def _kill_server(system: System, random_: random.Random) -> str | None:
    server = system.server
    if server is None:
        return None
    server.kill()
    return f"killed the server {server.pid}"


def _kill_worker(system: System, random_: random.Random) -> str | None:
    """One of the processes that a run consists of, or that scores, or that runs are forked from."""
    wanted = random_.choice(_WORKERS)
    # Whoever dies of SIGKILL twice is taken for a model that kills itself, which nobody can tell apart.
    spared = {_RUNNER} if _was_a_runner_killed(system) else set()
    until = time.monotonic() + _HUNT_SECONDS
    while True:
        found = {kind: processes for kind, processes in _workers().items() if kind not in spared}
        kind = wanted if wanted in found or time.monotonic() < until else next(iter(found), None)
        if kind in found:
            victim = random_.choice(found[kind])
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
                return f"killed {kind} {victim.pid}"
        elif kind is None:
            return None
        time.sleep(0.01)


def _was_a_runner_killed(system: System) -> bool:
    """Whether a run that has not ended was killed once."""
    database = Database(system.database_url)
    try:
        with database.read() as session:
            found = sa.select(Run.id).join(RunStatus).where(RunStatus.code == KILLED)
            return session.scalar(found.where(Run.state.not_in(FINAL)).limit(1)) is not None
    finally:
        database.close()


def _workers() -> dict[str, list[psutil.Process]]:
    """All of them, also those whose own parent was killed: orphans belong to this process."""
    found: dict[str, list[psutil.Process]] = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error, OSError):
            kind = _kind(process)
            if kind is not None and process.status() != psutil.STATUS_ZOMBIE:
                found.setdefault(kind, []).append(process)
    return found


def _kind(process: psutil.Process) -> str | None:
    """Told by what it is inside of its sandbox; None for what is no worker."""
    line = " ".join(process.cmdline())
    if "predictd.scoring.subprocess_scoring" in line:
        return _SCORER
    with open(f"/proc/{process.pid}/status", encoding="ascii", errors="replace") as status:
        numbers = next((line.split()[1:] for line in status if line.startswith("NSpid:")), [])
    if len(numbers) < 2:
        return _LAUNCHER if process.name() == "bwrap" else None
    if len(numbers) == 2:
        # A run that was not forked: what its first process ends with is all that is known of it.
        return _PARENT if "predictd_runner.fork_server" in line else _RUNNER
    return _FIRST if numbers[-1] == "1" else _RUNNER


def _kill_postgresql(system: System, random_: random.Random) -> str | None:
    assert system.cluster is not None
    system.cluster.kill()
    return "killed PostgreSQL"


def _start_postgresql(system: System) -> None:
    assert system.cluster is not None
    system.cluster.restart()


def _kill_s3(system: System, random_: random.Random) -> str | None:
    assert system.s3 is not None
    system.s3.kill()
    return "killed the S3 server"


def _start_s3(system: System) -> None:
    assert system.s3 is not None
    system.s3.start()


def _kill_node(system: System, random_: random.Random) -> str | None:
    """A machine of the cluster loses its power."""
    assert system.ray is not None
    node = random_.choice(system.ray.nodes)
    node.power_off()
    return f"killed all of {node.name}"


def _start_node(system: System) -> None:
    assert system.ray is not None
    for node in system.ray.nodes:
        if node.process is None or node.process.poll() is not None:
            node.start()


def _fill_disk(system: System, random_: random.Random) -> str | None:
    assert system.disk is not None
    system.disk.fill()
    return "filled the disk"


def _free_disk(system: System) -> None:
    assert system.disk is not None
    system.disk.free()


def _set_clock(system: System, random_: random.Random) -> str | None:
    """Ahead of the right time or back to it, so that the round, which is long, is open by either."""
    assert system.clock is not None
    if system.clock.offset:
        back = system.clock.offset
        system.clock.set(0.0)
        return f"set the clock back by {back:.0f} s"
    ahead = random_.uniform(600, 7200)
    system.clock.set(ahead)
    return f"set the clock ahead by {ahead:.0f} s"


def _slow_network(system: System, random_: random.Random) -> str | None:
    assert system.network is not None
    return f"made the network slow: {system.network.slow()}"


def _quick_network(system: System) -> None:
    assert system.network is not None
    system.network.quick()


def _no_root() -> str | None:
    return "it takes root" if os.geteuid() != 0 else None


def _no_program(name: str) -> str | None:
    return f"{name} is not installed" if shutil.which(name) is None else None


def _no_postgresql() -> str | None:
    try:
        find_postgresql()
    except PostgresMissingError as error:
        return str(error)
    return None


def _no_s3() -> str | None:
    return None if RCLONE.exists() else "rclone is missing: scripts/prepare_tests.py fetches it"


def _no_ray() -> str | None:
    if importlib.util.find_spec("ray") is None:
        return "Ray is not installed"
    return _no_root() or _no_program("ip")


FAULTS = {
    "server": Fault(strike=_kill_server),
    "worker": Fault(strike=_kill_worker),
    "postgresql": Fault(
        strike=_kill_postgresql,
        heal=_start_postgresql,
        needs=("postgresql",),
        holds=(0.0, 8.0),
        missing=_no_postgresql,
    ),
    "s3": Fault(strike=_kill_s3, heal=_start_s3, needs=("s3",), holds=(0.0, 8.0), missing=_no_s3),
    "node": Fault(strike=_kill_node, heal=_start_node, needs=("ray",), holds=(0.0, 8.0), missing=_no_ray),
    "disk": Fault(strike=_fill_disk, heal=_free_disk, needs=("small_disk",), holds=(0.5, 6.0), missing=_no_root),
    "clock": Fault(strike=_set_clock, needs=("clock",), missing=lambda: _no_program("cc")),
    "network": Fault(
        strike=_slow_network,
        heal=_quick_network,
        needs=("slow",),
        holds=(2.0, 8.0),
        missing=lambda: _no_root() or _no_program("ip") or _no_program("tc") or _no_program("nsenter"),
    ),
}
