"""Start one run: the configuration of the launcher, and the pipes of the run."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from predictd.domain.errors import PlatformError
from predictd.domain.limits import Limits
from predictd.domain.runs import RunRequest, RuntimePaths
from predictd.runner import syscalls
from predictd.sandbox import seccomp
from predictd.sandbox.command import (
    ISOLATED_PYTHON,
    RUNNER,
    SANDBOX_HOME,
    TREES,
    Folders,
    bubblewrap,
    build_environment,
    environment_files,
    etc_files,
    interpreter,
    sandbox_environment,
    sandbox_folders,
    sandbox_options,
)
from predictd.sandbox.handle import BubblewrapRun, PlainRun, RunHandle
from predictd.sandbox.resource_group import ResourceGroup

_LAUNCHER = Path(__file__).with_name("launcher.py")
_STAGING = "/tmp"  # noqa: S108 (covered by a private tmpfs, in a mount namespace of the launcher's own)
_FIRST_USER_ID = 200_000
_OPEN_FILES = 1024
# The first kernel that counts the processes of a user separately for each user namespace.
_COUNTS_PER_NAMESPACE = (5, 14)


class PassedDescriptors:
    """The descriptors that a launched program gets beside its standard streams, numbered from 3.

    The numbers in the server don't matter: those of a busy server exceed the limit of a run.

    Args:
        files: paths that the launcher opens read-only; they are numbered first.
    """

    def __init__(self, files: Sequence[str] = ()) -> None:
        self.files = tuple(files)
        self.descriptors: list[int] = []

    def add(self, descriptor: int) -> int:
        """Pass this descriptor, which `close` closes; return its number in the program."""
        self.descriptors.append(descriptor)
        return syscalls.FIRST_DESCRIPTOR + len(self.files) + len(self.descriptors) - 1

    def add_file(self, name: str, content: bytes) -> int:
        """Pass a file in memory; return its number in the program."""
        return self.add(memory_file(name, content))

    def close(self) -> None:
        """Close the descriptors in this process."""
        for descriptor in self.descriptors:
            os.close(descriptor)


@contextmanager
def launch_process(
    request: RunRequest, group: ResourceGroup, *, isolate: bool, program: Sequence[str] = ()
) -> Iterator[RunHandle]:
    """Start the run; on exit the pipes are closed and temporary files removed, but nothing is killed.

    Args:
        request: the run.
        group: its resources.
        isolate: whether to use bubblewrap; otherwise it is a plain process.
        program: arguments of the sandbox's interpreter that replace the runner.

    Raises:
        PlatformError: bubblewrap, libseccomp or the runtime is missing, or the process can't be started.
    """
    with ExitStack() as stack, ExitStack() as write_ends:
        is_staged = isolate and slot_user(request.slot) is not None
        passed = PassedDescriptors(tuple(data_files(request).values()) if is_staged else ())
        write_ends.callback(passed.close)
        channel, channel_write = _pipe(stack)
        channel_number = passed.add(channel_write)
        log, log_write = _pipe(stack)
        write_ends.callback(os.close, log_write)
        status_read: int | None = None
        if isolate:
            status_read, status_write = _pipe(stack)
            config = _isolated_config(request, group, passed, channel_number, passed.add(status_write), program)
        else:
            config = _plain_config(request, stack, channel_number)
        config |= {"member_files": list(group.member_files), "cpus": group.processors}
        config |= {"rlimits": {**file_limits(request.limits), **group.rlimits}}
        process = start(config, passed, log_write)
        write_ends.close()
        group.watch(process.pid)
        if status_read is None:
            yield PlainRun(process, channel, log)
        else:
            max_processes = request.limits.processes if processes_are_counted_inside() else None
            yield BubblewrapRun(process, channel, log, status_read, max_processes)


def start(config: Mapping[str, object], passed: PassedDescriptors, output: int) -> subprocess.Popen[bytes]:
    """Start the launcher.

    Args:
        config: the configuration where it differs from the defaults (see launcher.py).
        passed: the descriptors of its program.
        output: descriptor of its standard output and error.

    Raises:
        PlatformError: The process can't be started.
    """
    full_config = {
        "parent": os.getpid(),
        "member_files": [],
        "cpus": None,
        "uid": None,
        "staging": None,
        "descriptors": passed.descriptors,
        "env": {},
        "reap": False,
        "rlimits": {},
        **config,
    }
    config_descriptor = memory_file("config", json.dumps(full_config).encode())
    # Only for the libraries of the server's interpreter; the program that the launcher starts gets `env`.
    libraries = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCHER), str(config_descriptor)],
            env=libraries,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=[config_descriptor, *passed.descriptors],
        )
    except OSError as error:
        raise PlatformError(f"The sandbox could not be started: {error.strerror}.") from error
    finally:
        os.close(config_descriptor)


def file_limits(limits: Limits) -> dict[str, int]:
    """Return the limits on files of each process of a run, by the name of a resource.RLIMIT_*."""
    return {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": _OPEN_FILES, "RLIMIT_FSIZE": limits.scratch_bytes}


def slot_user(slot: int) -> int | None:
    """Return the id of the unprivileged user for runs of this slot, or None if the server does not run as root."""
    return _FIRST_USER_ID + slot if os.geteuid() == 0 else None


def find_bubblewrap() -> str:
    """Return the path of bwrap.

    Raises:
        PlatformError: bubblewrap is not installed.
    """
    path = shutil.which("bwrap")
    if path is None:
        raise PlatformError("bubblewrap is missing on this machine: apt-get install bubblewrap.")
    return os.path.realpath(path)


def seccomp_program(*, counts_all_memory: bool = True) -> bytes:
    """Return the compiled filter; see `seccomp.program`.

    Raises:
        PlatformError: libseccomp is missing or too old.
    """
    try:
        return seccomp.program(counts_all_memory=counts_all_memory)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        raise PlatformError("libseccomp is missing on this machine: apt-get install libseccomp2.") from error


def memory_file(name: str, content: bytes) -> int:
    """Return a descriptor, at its start, of a file in memory with this content."""
    descriptor = os.memfd_create(name)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _isolated_config(
    request: RunRequest,
    group: ResourceGroup,
    passed: PassedDescriptors,
    channel: int,
    status: int,
    program: Sequence[str],
) -> dict[str, object]:
    runtime, limits = request.runtime, request.limits
    files = data_files(request)
    seccomp = passed.add_file("seccomp", seccomp_program(counts_all_memory=group.counts_all_memory))
    command = bubblewrap(
        find_bubblewrap(),
        limits,
        status_descriptor=status,
        seccomp_descriptor=seccomp,
        text_files=_pass_text_files(runtime, passed),
    )
    names: Mapping[str, int | str]
    binds: dict[str, str] = {}
    if passed.files:
        names = {name: number for number, name in enumerate(files, syscalls.FIRST_DESCRIPTOR)}
    else:
        names = {name: f"{SANDBOX_HOME}/data/{name}" for name in files}
        binds = {f"{SANDBOX_HOME}/data/{name}": path for name, path in files.items()}
    task = runner_task(request, channel, names, limits.processes if processes_are_counted_inside() else None)
    python = [ISOLATED_PYTHON, *program] if program else interpreter(ISOLATED_PYTHON, sandbox_folders(runtime), task)
    return _bubblewrap_config(request, passed, command, binds, python)


def fork_server_config(
    request: RunRequest,
    passed: PassedDescriptors,
    socket_number: int,
    seccomp_filter: bytes,
    imports: Sequence[str],
    folders: Mapping[str, Path],
) -> dict[str, object]:
    """Return the launcher's configuration for a fork server; add the descriptors that it needs to `passed`.

    Args:
        request: a run like those to fork.
        passed: the descriptors of the fork server.
        socket_number: number in the fork server of the socket for requests.
        seccomp_filter: the compiled filter of system calls for its runs.
        imports: modules to import in addition to those of every run.
        folders: path inside -> further folders of this machine that it sees.

    Raises:
        PlatformError: bubblewrap is missing.
    """
    runtime = request.runtime
    task = {"socket": socket_number, "filter": passed.add_file("filter", seccomp_filter), "imports": list(imports)}
    command = bubblewrap(
        find_bubblewrap(), request.limits, text_files=_pass_text_files(runtime, passed), is_fork_server=True
    )
    python = interpreter(ISOLATED_PYTHON, sandbox_folders(runtime), task, "fork_server")
    binds = {target: str(path) for target, path in folders.items()}
    return {**_bubblewrap_config(request, passed, command, binds, python), "parent": None}


def _bubblewrap_config(
    request: RunRequest,
    passed: PassedDescriptors,
    command: list[str],
    binds: Mapping[str, str],
    python: Sequence[str],
) -> dict[str, object]:
    """Return the launcher's configuration for `python` in a sandbox that sees the runtime and the binds."""
    runtime = request.runtime
    uid = slot_user(request.slot)
    folders = {"prefix": str(runtime.prefix), "packages": str(runtime.packages), "runner": str(RUNNER)}
    folders["trees"] = str(TREES)
    staging = None
    if uid is not None:
        staging = {"at": _STAGING, "folders": folders, "files": passed.files}
        folders = {name: f"{_STAGING}/{name}" for name in folders}
    inner = sandbox_options(runtime, Folders(**folders), binds, request.limits, seeded=request.seed is not None)
    # In a descriptor, because every process of the run can read the command line of the first process.
    options = passed.add_file("options", b"\0".join(map(os.fsencode, [*command[1:], *inner])) + b"\0")
    return {"uid": uid, "staging": staging, "argv": [command[0], "--args", str(options), "--", *python]}


def _pass_text_files(runtime: RuntimePaths, passed: PassedDescriptors) -> dict[int, str]:
    texts = etc_files() | environment_files(runtime)
    return {passed.add_file("text", text.encode()): path for path, text in texts.items()}


def _plain_config(request: RunRequest, stack: ExitStack, channel: int) -> dict[str, object]:
    """Return the launcher's configuration without isolation: a process of the server's user in a temporary folder."""
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="predictd-run-", ignore_cleanup_errors=True)))
    (home / "code").mkdir()
    (home / "scratch").mkdir()
    (home / "code" / "predictd_runner").symlink_to(RUNNER)
    (home / "code" / "predictd_trees").symlink_to(TREES)
    runtime = request.runtime
    folders = Folders(
        prefix=str(runtime.prefix),
        packages=str(runtime.packages),
        runner=str(home / "code" / "predictd_runner"),
        trees=str(home / "code" / "predictd_trees"),
    )
    env = build_environment(request.limits, str(home / "scratch"), seeded=request.seed is not None)
    if any(runtime.prefix.glob("lib/libpython3*.so*")):
        env["LD_LIBRARY_PATH"] = str(runtime.prefix / "lib")
    runtime_python = runtime.packages.parents[2] / "bin" / "python"
    python = str(runtime_python if runtime_python.exists() else runtime.python)
    argv = interpreter(python, folders, runner_task(request, channel, data_files(request), None))
    return {"argv": argv, "env": env, "reap": True}


def runner_task(
    request: RunRequest, channel: int, names: Mapping[str, int | str], processes: int | None
) -> dict[str, object]:
    """Return the task of the runner; `names` has a descriptor or a path for each file."""
    max_tables_bytes = request.limits.output_bytes if request.keep_tables else None
    options: dict[str, object] = {"processes": processes, "trees": request.trees, "keep_tables": max_tables_bytes}
    options |= {"proven": request.proven, "seed": request.seed}
    return {"channel": channel, "benchmarks": None, "tables": None, **names, **options}


def run_environment(request: RunRequest) -> dict[str, str]:
    """Return the environment of the model of the run in a sandbox."""
    return sandbox_environment(request.runtime, request.limits, seeded=request.seed is not None)


def data_files(request: RunRequest) -> dict[str, str]:
    """Return the absolute paths of the files that a run reads, by name in the task."""
    files = {"pickle": request.pickle, "live": request.live, "benchmarks": request.benchmarks, "tables": request.tables}
    return {name: str(path.absolute()) for name, path in files.items() if path is not None}


def _pipe(stack: ExitStack) -> tuple[int, int]:
    """Create a pipe; the stack closes its read end."""
    read, write = os.pipe()
    stack.callback(os.close, read)
    return read, write


def processes_are_counted_inside() -> bool:
    """Return whether the kernel counts the processes of a user separately for each user namespace."""
    numbers = platform.release().split(".")[:2]
    return tuple(int("".join(filter(str.isdigit, n)) or 0) for n in numbers) >= _COUNTS_PER_NAMESPACE
