"""Runs that are forked from a fork server: one for many, replaced when it must be, and none of its state shared.

That a forked run is held and explained as a cold one is tested with the hostile models.
"""

import ctypes
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from predictd import sandbox
from predictd.data.mapping import map_parquet
from predictd.domain.errors import PlatformError
from predictd.domain.runs import RunReport, SandboxKind
from predictd.runner import syscalls
from predictd.sandbox import ForkPool
from predictd.sandbox.launch import slot_user
from test_sandbox import Workbench, wait_until, workbench

__all__ = ["workbench"]

_SYS_PIDFD_GETFD = 438
# Sends descriptors that nobody receives, as many as one user with this limit may, and tells how many.
_SENDS_DESCRIPTORS = """
import os, resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
os.setuid(int(sys.argv[1]))
nothing, pairs, count = os.open(os.devnull, os.O_RDONLY), [], 0
try:
    while True:
        pairs.append(socket.socketpair())
        for _ in range(8):
            socket.send_fds(pairs[-1][0], [b"x"], [nothing] * 250)
            count += 250
except OSError:
    print(count, flush=True)
sys.stdin.read()
"""


def parents_here() -> list[int]:
    """The sandboxes of the parents that runs of this process are forked from."""
    return [one.pid for one in psutil.Process().children() if _is_parent(one)]


def _is_parent(process: psutil.Process) -> bool:
    with suppress(psutil.Error):  # it ends while it is looked at
        return process.name() == "bwrap" and "predictd_runner.fork_server" in " ".join(process.cmdline())
    return False


def kill_parent(sandbox_pid: int) -> None:
    """Kill the process itself, without its sandbox."""
    inside = psutil.Process(sandbox_pid).children(recursive=True)
    next(one for one in inside if one.name() != "bwrap").kill()


def socket_of(sandbox_pid: int) -> socket.socket:
    """The end of the server's socket that the parent in this sandbox has, as somebody who stole it holds it."""
    inside = psutil.Process(sandbox_pid).children(recursive=True)
    parent = next(one for one in inside if one.name() != "bwrap")
    libc = ctypes.CDLL(None, use_errno=True)
    process = os.pidfd_open(parent.pid)
    stolen = libc.syscall(ctypes.c_long(_SYS_PIDFD_GETFD), process, syscalls.FIRST_DESCRIPTOR, 0)
    os.close(process)
    assert stolen >= 0, os.strerror(ctypes.get_errno())
    return socket.socket(fileno=stolen)


@pytest.fixture
def parents(workbench: Workbench) -> Iterator[ForkPool]:
    parents = ForkPool(max_servers=2, folders=[workbench.pickles], fork_only=True)
    yield parents
    parents.close()
    assert not parents_here()


def run(workbench: Workbench, parents: ForkPool, model: str) -> RunReport:
    return workbench.run(model, fork_pool=parents)


def test_one_parent_serves_many_runs(workbench: Workbench, parents: ForkPool) -> None:
    cold = workbench.run("good")
    assert cold.predictions is not None
    assert "import" in cold.stages
    seen = set()
    for _ in range(3):
        report = run(workbench, parents, "good")
        assert report.predictions is not None
        assert report.predictions.ids == cold.predictions.ids
        assert report.predictions.values.tolist() == cold.predictions.values.tolist()
        seen |= set(parents_here())
    assert len(seen) == 1


def test_runs_share_neither_random_numbers_nor_what_they_write_into_the_data(
    workbench: Workbench, parents: ForkPool, tmp_path: Path
) -> None:
    mapped = workbench.pickles / "live.map"
    map_parquet(workbench.live, mapped)
    before = mapped.read_bytes()
    mine = replace(workbench, live=mapped, printed=[])
    drawn = []
    for _ in range(3):
        assert run(mine, parents, "draws").failure is None
        drawn.append(mine.log.split())
    assert len({one[0] for one in drawn}) == len({one[1] for one in drawn}) == 3
    assert len({one[2] for one in drawn}) == 1
    assert mapped.read_bytes() == before


def test_a_parent_that_died_is_replaced(workbench: Workbench, parents: ForkPool) -> None:
    run(workbench, parents, "good")
    [first] = parents_here()
    kill_parent(first)
    wait_until(lambda: not parents_here())
    assert run(workbench, parents, "good").failure is None
    assert parents_here() != [first]


@pytest.mark.parametrize("packet", [b'{"nonce": "00", "error": null}', b"not JSON", b"[1, 2]", b"{}"])
def test_parent_that_speaks_out_of_turn_is_ended(
    workbench: Workbench, parents: ForkPool, packet: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    good = run(workbench, parents, "good")
    [first] = parents_here()
    with socket_of(first) as stolen, (workbench.pickles / "loops.pkl").open("rb") as file:
        socket.send_fds(stolen, [packet], [file.fileno()])
        again = run(workbench, parents, "good")
    assert again.predictions is not None
    assert good.predictions is not None
    assert again.predictions.values.tolist() == good.predictions.values.tolist()
    assert "a fork server is replaced" in caplog.text
    assert first not in parents_here()


def test_descriptors_of_a_busy_server_are_no_obstacle(workbench: Workbench, parents: ForkPool) -> None:
    with ExitStack() as stack:
        for _ in range(960):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        assert run(workbench, parents, "good").failure is None
        assert workbench.run("good").failure is None
        # A third kind of launch: without isolation.
        assert workbench.run("good", kind=SandboxKind.NONE).failure is None


def test_the_end_of_its_parent_is_not_the_models_fault(workbench: Workbench, parents: ForkPool) -> None:
    run(workbench, parents, "good")
    [parent] = parents_here()
    threading.Timer(1.0, kill_parent, (parent,)).start()
    with pytest.raises(PlatformError, match="fork server"):
        run(workbench, parents, "loops")
    assert run(workbench, parents, "good").failure is None


def test_a_runtime_that_was_built_anew_gets_a_new_parent(workbench: Workbench, parents: ForkPool) -> None:
    run(workbench, parents, "good")
    [first] = parents_here()
    packages = workbench.runtime.packages
    was = packages.stat()
    os.utime(packages, ns=(was.st_atime_ns, was.st_mtime_ns + 1_000_000))
    try:
        run(workbench, parents, "good")
        wait_until(lambda: len(parents_here()) == 1)
        assert parents_here() != [first]
    finally:
        os.utime(packages, ns=(was.st_atime_ns, was.st_mtime_ns))


def test_no_more_parents_are_kept_than_allowed(workbench: Workbench, parents: ForkPool) -> None:
    for slot in range(4):
        mine = replace(workbench.request("good"), slot=slot)
        workbench.printed.clear()
        assert sandbox.run(mine, on_log=workbench.printed.append, fork_pool=parents).failure is None
    assert len(parents_here()) == 2


def test_descriptors_that_others_have_on_their_way_delay_no_run(workbench: Workbench, parents: ForkPool) -> None:
    assert run(workbench, parents, "good").failure is None
    user = slot_user(workbench.request("good").slot) or os.geteuid()
    command = [sys.executable, "-c", _SENDS_DESCRIPTORS, str(user)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        assert int(holder.stdout.readline()) >= 1000
        # Twice, as another run waited already.
        reports = [run(workbench, parents, "good") for _ in range(2)]
        assert holder.stdin is not None
        holder.stdin.close()
    assert [report.failure for report in reports] == [None, None]
    assert len(parents_here()) == 1
