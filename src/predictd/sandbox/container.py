"""One run in a container of Podman or Docker: another wall, the same runner, pipes and evidence."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from predictd.domain.errors import PlatformError
from predictd.domain.limits import Limits
from predictd.domain.runs import RunRequest
from predictd.runner import syscalls
from predictd.sandbox import seccomp
from predictd.sandbox.command import (
    INSIDE,
    ISOLATED_PYTHON,
    RUNNER,
    TREES,
    interpreter,
    where_inside,
)
from predictd.sandbox.container_engine import Engine
from predictd.sandbox.handle import Launched, ProcessRun, has_ended, wait_for
from predictd.sandbox.images import image_of
from predictd.sandbox.launch import data_files, environment_of, task_of
from predictd.sandbox.resource_group import ResourceGroup

_OPEN_FILES = 1024
_START_SECONDS = 60.0
_USER = 1000
_PROCESSES_OF_ALL = 4096
_FIRST_USER = 200_000
_READ_BY_ALL = 0o004


class ContainedRun(ProcessRun):
    """A run in a container; see Launched."""

    def __init__(self, engine: Engine, name: str, process: "subprocess.Popen[bytes]", answer: int, log: int) -> None:
        super().__init__(process, answer, log)
        self._engine = engine
        self._name = name

    def kill(self) -> None:
        """See Launched; the engine removes the container and all that is in it.

        The engine's client first: the container's monitor would wait for it to read what nobody reads any more.
        """
        os.kill(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(PlatformError):
            self._engine.call("rm", "--force", *_at_once(self._engine), self._name, check=False)
        wait_for(self.process.pid)


@contextmanager
def contained(
    engine: Engine, request: RunRequest, group: ResourceGroup, program: Sequence[str] = ()
) -> Iterator[Launched]:
    """Start the run in a container, as `launch.launched` does in bubblewrap.

    The container's first process waits until it is a member of the group, so that the limits are those of every run.

    Raises:
        PlatformError: the engine, its image or the container can't be made or started.
    """
    with ExitStack() as stack:
        name = f"predictd-{os.getpid()}-{secrets.token_hex(6)}"
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="predictd-run-")))
        profile = folder / "seccomp.json"
        profile.write_text(json.dumps(seccomp.profile()))
        command = [
            *(*engine.command, "run", "--name", name, "--label", engine.label(), "--interactive", "--rm"),
            *_walls(engine, profile),
            *_bounds(request.limits, request.slot, group),
            *_mounts(request, folder),
            *(f"--env={key}={value}" for key, value in environment_of(request).items()),
            image_of(engine, request.runtime),
            *interpreter(ISOLATED_PYTHON, where_inside(request.runtime), _task(request, program), "container_init"),
        ]
        process = _start(command)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for pipe in (process.stdin, process.stdout, process.stderr):
            stack.callback(pipe.close)
        launched = ContainedRun(engine, name, process, process.stdout.fileno(), process.stderr.fileno())
        try:
            _admit(engine, name, process, group)
        except BaseException:
            launched.kill()
            launched.release()
            raise
        yield launched


def _start(command: list[str]) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(
            command,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as error:
        raise PlatformError(f"The container could not be started: {error.strerror}.") from error


def _admit(engine: Engine, name: str, process: "subprocess.Popen[bytes]", group: ResourceGroup) -> None:
    """Wait for the container's first process, put it into the group, and let it go on."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        said = engine.call("inspect", "--format", "{{.State.Pid}}", name, check=False).strip()
        if said.isdecimal() and int(said) > 0:
            break
        if has_ended(process.pid):
            assert process.stderr is not None
            words = process.stderr.read(4096).decode("utf-8", "replace").strip().splitlines()
            raise PlatformError(f"{engine.name} could not start the container: {words[-1] if words else 'no reason'}.")
        if time.monotonic() > deadline:
            raise PlatformError(f"{engine.name} did not start the container within {_START_SECONDS:.0f} s.")
        time.sleep(0.02)
    try:
        for path in group.joins:
            Path(path).write_text(said)
    except OSError as error:
        raise PlatformError(f"The container can't be put into its control group: {error.strerror}.") from error
    group.watch(int(said))
    assert process.stdin is not None
    process.stdin.write(b"g")


def _walls(engine: Engine, profile: Path) -> list[str]:
    walls = [
        "--network=none",
        "--read-only",
        "--cap-drop=all",
        "--ipc=private",
        "--hostname=predictd",
        "--workdir=/tmp",
        # In the place of the terminals that an engine makes, whose work the kernel does outside of the run's group.
        "--tmpfs=/dev/pts:ro,noexec,nosuid,nodev,mode=0555,size=4k",
    ]
    walls += ["--security-opt=no-new-privileges", f"--security-opt=seccomp={profile}", "--log-driver=none"]
    if engine.name == "podman":
        walls += [
            "--no-hosts",
            "--security-opt=mask=/sys",
            "--cgroupns=private",
            "--pull=never",
            "--read-only-tmpfs=false",
            "--image-volume=ignore",
        ]
    return walls


def _bounds(limits: Limits, slot: int, group: ResourceGroup) -> list[str]:
    # A user of the slot's own, so that the kernel's count of its processes is that of the run.
    user, processes = (_FIRST_USER + slot, limits.processes) if os.geteuid() == 0 else (_USER, _PROCESSES_OF_ALL)
    bounds = [
        f"--user={user}:{user}",
        f"--tmpfs=/tmp:rw,exec,nosuid,nodev,mode=1777,size={limits.scratch_bytes}",
        f"--shm-size={max(limits.scratch_bytes // 4, 1)}b",
        f"--ulimit=nofile={_OPEN_FILES}:{_OPEN_FILES}",
        f"--ulimit=fsize={limits.scratch_bytes}:{limits.scratch_bytes}",
        "--ulimit=core=0:0",
        f"--ulimit=nproc={processes}:{processes}",
    ]
    if not group.joins:
        # No group of ours: the engine's own, as far as it has them.
        bounds += [f"--memory={limits.memory_bytes}", f"--pids-limit={limits.processes}", f"--cpus={limits.cpus}"]
    return bounds


def _mounts(request: RunRequest, folder: Path) -> list[str]:
    """The runner and the data; what the container's user could not read is copied for it."""
    sources = {f"{INSIDE}/predictd_runner": RUNNER, f"{INSIDE}/predictd_trees": TREES}
    for name, found in data_files(request).items():
        path = readable = Path(found)
        if not path.stat().st_mode & _READ_BY_ALL:
            readable = folder / name
            shutil.copyfile(path, readable)
            readable.chmod(0o444)
        sources[f"{INSIDE}/data/{name}"] = readable
    return [f"--volume={source.absolute()}:{target}:ro" for target, source in sources.items()]


def _task(request: RunRequest, program: Sequence[str]) -> Mapping[str, object]:
    names = {name: f"{INSIDE}/data/{name}" for name in data_files(request)}
    return {**task_of(request, syscalls.FIRST_DESCRIPTOR, names, None), "program": list(program)}


def _at_once(engine: Engine) -> list[str]:
    return ["--time=0"] if engine.name == "podman" else []
