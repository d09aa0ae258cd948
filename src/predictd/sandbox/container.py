"""Run a model in a container of Podman or Docker, with the runner, pipes and evidence of any other run."""

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
    ISOLATED_PYTHON,
    RUNNER,
    SANDBOX_HOME,
    TREES,
    interpreter,
    sandbox_folders,
)
from predictd.sandbox.container_engine import Engine
from predictd.sandbox.handle import ProcessRun, RunHandle, has_ended, wait_for
from predictd.sandbox.images import ensure_image
from predictd.sandbox.launch import data_files, run_environment, runner_task
from predictd.sandbox.resource_group import ResourceGroup

_OPEN_FILES = 1024
_START_SECONDS = 60.0
_USER_ID = 1000
_MAX_SHARED_PROCESSES = 4096
_FIRST_USER_ID = 200_000
_READABLE_BY_ALL = 0o004


class ContainerRun(ProcessRun):
    """A run in a container. See RunHandle."""

    def __init__(self, engine: Engine, name: str, process: "subprocess.Popen[bytes]", channel: int, log: int) -> None:
        super().__init__(process, channel, log)
        self._engine = engine
        self._name = name

    def kill(self) -> None:
        """See RunHandle; the engine removes the container with all of its processes.

        The engine's client is killed first: the container's monitor would wait for it to read the output.
        """
        os.kill(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(PlatformError):
            self._engine.call("rm", "--force", *_without_grace(self._engine), self._name, check=False)
        wait_for(self.process.pid)


@contextmanager
def launch_container(
    engine: Engine, request: RunRequest, group: ResourceGroup, program: Sequence[str] = ()
) -> Iterator[RunHandle]:
    """Start the run in a container, as `launch.launch_process` does in bubblewrap.

    The container's first process waits until it is a member of the group, so the limits are the same as of any run.

    Raises:
        PlatformError: The engine, its image or the container can't be created or started.
    """
    with ExitStack() as stack:
        name = f"predictd-{os.getpid()}-{secrets.token_hex(6)}"
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="predictd-run-")))
        profile = folder / "seccomp.json"
        profile.write_text(json.dumps(seccomp.profile()))
        command = [
            *(*engine.command, "run", "--name", name, "--label", engine.label(), "--interactive", "--rm"),
            *_isolation_options(engine, profile),
            *_limit_options(request.limits, request.slot, group),
            *_mounts(request, folder),
            *(f"--env={key}={value}" for key, value in run_environment(request).items()),
            ensure_image(engine, request.runtime),
            *interpreter(ISOLATED_PYTHON, sandbox_folders(request.runtime), _task(request, program), "container_init"),
        ]
        process = _start(command)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for pipe in (process.stdin, process.stdout, process.stderr):
            stack.callback(pipe.close)
        handle = ContainerRun(engine, name, process, process.stdout.fileno(), process.stderr.fileno())
        try:
            _release_into_group(engine, name, process, group)
        except BaseException:
            handle.kill()
            handle.release()
            raise
        yield handle


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


def _release_into_group(engine: Engine, name: str, process: "subprocess.Popen[bytes]", group: ResourceGroup) -> None:
    """Wait for the container's first process, add it to the group and let it continue."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        pid = engine.call("inspect", "--format", "{{.State.Pid}}", name, check=False).strip()
        if pid.isdecimal() and int(pid) > 0:
            break
        if has_ended(process.pid):
            assert process.stderr is not None
            lines = process.stderr.read(4096).decode("utf-8", "replace").strip().splitlines()
            raise PlatformError(f"{engine.name} could not start the container: {lines[-1] if lines else 'no reason'}.")
        if time.monotonic() > deadline:
            raise PlatformError(f"{engine.name} did not start the container within {_START_SECONDS:.0f} s.")
        time.sleep(0.02)
    try:
        for path in group.member_files:
            Path(path).write_text(pid)
    except OSError as error:
        raise PlatformError(f"The container can't be added to its control group: {error.strerror}.") from error
    group.watch(int(pid))
    assert process.stdin is not None
    process.stdin.write(b"g")


def _isolation_options(engine: Engine, profile: Path) -> list[str]:
    options = [
        "--network=none",
        "--read-only",
        "--cap-drop=all",
        "--ipc=private",
        "--hostname=predictd",
        "--workdir=/tmp",
        # Replaces the terminals that an engine creates, whose work the kernel does outside of the run's group.
        "--tmpfs=/dev/pts:ro,noexec,nosuid,nodev,mode=0555,size=4k",
    ]
    options += ["--security-opt=no-new-privileges", f"--security-opt=seccomp={profile}", "--log-driver=none"]
    if engine.name == "podman":
        options += [
            "--no-hosts",
            "--security-opt=mask=/sys",
            "--cgroupns=private",
            "--pull=never",
            "--read-only-tmpfs=false",
            "--image-volume=ignore",
        ]
    return options


def _limit_options(limits: Limits, slot: int, group: ResourceGroup) -> list[str]:
    # One user per slot, so the kernel's process count of that user is the process count of the run.
    user_id, processes = (
        (_FIRST_USER_ID + slot, limits.processes) if os.geteuid() == 0 else (_USER_ID, _MAX_SHARED_PROCESSES)
    )
    options = [
        f"--user={user_id}:{user_id}",
        f"--tmpfs=/tmp:rw,exec,nosuid,nodev,mode=1777,size={limits.scratch_bytes}",
        f"--shm-size={max(limits.scratch_bytes // 4, 1)}b",
        f"--ulimit=nofile={_OPEN_FILES}:{_OPEN_FILES}",
        f"--ulimit=fsize={limits.scratch_bytes}:{limits.scratch_bytes}",
        "--ulimit=core=0:0",
        f"--ulimit=nproc={processes}:{processes}",
    ]
    if not group.member_files:
        # Without a control group of our own, the engine limits what it can.
        options += [f"--memory={limits.memory_bytes}", f"--pids-limit={limits.processes}", f"--cpus={limits.cpus}"]
    return options


def _mounts(request: RunRequest, folder: Path) -> list[str]:
    """Return options that mount the runner and the data; copy files that the container's user can't read."""
    sources = {f"{SANDBOX_HOME}/predictd_runner": RUNNER, f"{SANDBOX_HOME}/predictd_trees": TREES}
    for name, source in data_files(request).items():
        path = readable_path = Path(source)
        if not path.stat().st_mode & _READABLE_BY_ALL:
            readable_path = folder / name
            shutil.copyfile(path, readable_path)
            readable_path.chmod(0o444)
        sources[f"{SANDBOX_HOME}/data/{name}"] = readable_path
    return [f"--volume={source.absolute()}:{target}:ro" for target, source in sources.items()]


def _task(request: RunRequest, program: Sequence[str]) -> Mapping[str, object]:
    names = {name: f"{SANDBOX_HOME}/data/{name}" for name in data_files(request)}
    return {**runner_task(request, syscalls.FIRST_DESCRIPTOR, names, None), "program": list(program)}


def _without_grace(engine: Engine) -> list[str]:
    return ["--time=0"] if engine.name == "podman" else []
