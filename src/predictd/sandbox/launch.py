"""Starting one run: what the launcher is told, and the pipes that lead out of the run."""

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
    INSIDE,
    ISOLATED_PYTHON,
    RUNNER,
    TREES,
    Folders,
    bubblewrap,
    environment,
    environment_files,
    environment_inside,
    etc_files,
    inside,
    interpreter,
    where_inside,
)
from predictd.sandbox.handle import BubblewrapRun, Launched, PlainRun
from predictd.sandbox.resource_group import ResourceGroup

_LAUNCHER = Path(__file__).with_name("launcher.py")
_STAGING = "/tmp"  # noqa: S108 (covered by a private tmpfs, in a mount namespace of the launcher's own)
_FIRST_USER = 200_000
_OPEN_FILES = 1024
# From here on the kernel counts the processes of a user for each user namespace by itself.
_COUNTS_PER_NAMESPACE = (5, 14)


class Passed:
    """What a launched program gets beside its standard streams, as the descriptors from 3 on.

    The numbers of the server's own descriptors never matter: a busy server's are higher than a run may have.

    Args:
        files: paths that the launcher opens read-only; they come first.
    """

    def __init__(self, files: Sequence[str] = ()) -> None:
        self.files = tuple(files)
        self.descriptors: list[int] = []

    def add(self, descriptor: int) -> int:
        """Pass this descriptor, which is closed with the others here; returns its number in the program."""
        self.descriptors.append(descriptor)
        return syscalls.FIRST_DESCRIPTOR + len(self.files) + len(self.descriptors) - 1

    def add_file(self, name: str, content: bytes) -> int:
        """Pass a file in memory; returns its number in the program."""
        return self.add(memory_file(name, content))

    def close(self) -> None:
        """Close them here."""
        for descriptor in self.descriptors:
            os.close(descriptor)


@contextmanager
def launched(
    request: RunRequest, group: ResourceGroup, *, isolate: bool, program: Sequence[str] = ()
) -> Iterator[Launched]:
    """Start the run; on leaving, the pipes are closed and temporary files removed, but nothing is killed.

    Args:
        request: what runs.
        group: its resources.
        isolate: False starts a plain process.
        program: arguments for the sandbox's interpreter that take the place of the runner.

    Raises:
        PlatformError: bubblewrap, libseccomp or the runtime is missing, or the process can't be started.
    """
    with ExitStack() as stack, ExitStack() as writes:
        is_staged = isolate and user_of(request.slot) is not None
        passed = Passed(tuple(data_files(request).values()) if is_staged else ())
        writes.callback(passed.close)
        answer, answer_write = _pipe(stack)
        answer_number = passed.add(answer_write)
        log, log_write = _pipe(stack)
        writes.callback(os.close, log_write)
        status: int | None = None
        if isolate:
            status, status_write = _pipe(stack)
            config = _isolated(request, group, passed, answer_number, passed.add(status_write), program)
        else:
            config = _plain(request, stack, answer_number)
        config |= {"joins": list(group.joins), "cpus": group.processors}
        config |= {"rlimits": {**file_limits(request.limits), **group.rlimits}}
        process = start(config, passed, log_write)
        writes.close()
        group.watch(process.pid)
        if status is None:
            yield PlainRun(process, answer, log)
        else:
            most = request.limits.processes if processes_are_counted_inside() else None
            yield BubblewrapRun(process, answer, log, status, most)


def start(config: Mapping[str, object], passed: Passed, output: int) -> subprocess.Popen[bytes]:
    """Start the launcher with what `config` adds to the defaults (see launcher.py).

    Args:
        config: what differs from the defaults.
        passed: what its program gets.
        output: descriptor of its standard output and error.

    Raises:
        PlatformError: the process can't be started.
    """
    whole = {
        "parent": os.getpid(),
        "joins": [],
        "cpus": None,
        "uid": None,
        "staging": None,
        "descriptors": passed.descriptors,
        "env": {},
        "reap": False,
        "rlimits": {},
        **config,
    }
    told = memory_file("config", json.dumps(whole).encode())
    # Only to find the server's own interpreter's libraries; whatever the launcher starts gets `env`.
    libraries = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LAUNCHER), str(told)],
            env=libraries,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=[told, *passed.descriptors],
        )
    except OSError as error:
        raise PlatformError(f"The sandbox could not be started: {error.strerror}.") from error
    finally:
        os.close(told)


def file_limits(limits: Limits) -> dict[str, int]:
    """What every process of a run may do with files, by name of resource.RLIMIT_*."""
    return {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": _OPEN_FILES, "RLIMIT_FSIZE": limits.scratch_bytes}


def user_of(slot: int) -> int | None:
    """The unprivileged user that a run of this slot becomes; None where the server is no root that could do that."""
    return _FIRST_USER + slot if os.geteuid() == 0 else None


def find_bubblewrap() -> str:
    """Path of bwrap.

    Raises:
        PlatformError: it is not installed.
    """
    path = shutil.which("bwrap")
    if path is None:
        raise PlatformError("bubblewrap is missing on this machine: apt-get install bubblewrap.")
    return os.path.realpath(path)


def seccomp_program(*, counts_all_memory: bool = True) -> bytes:
    """The compiled filter; see `seccomp.program`.

    Raises:
        PlatformError: libseccomp is missing or too old.
    """
    try:
        return seccomp.program(counts_all_memory=counts_all_memory)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        raise PlatformError("libseccomp is missing on this machine: apt-get install libseccomp2.") from error


def memory_file(name: str, content: bytes) -> int:
    """Descriptor of a file in memory that holds `content`, at its start."""
    descriptor = os.memfd_create(name)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _isolated(
    request: RunRequest,
    group: ResourceGroup,
    passed: Passed,
    answer: int,
    status: int,
    program: Sequence[str],
) -> dict[str, object]:
    runtime, limits = request.runtime, request.limits
    files = data_files(request)
    seccomp = passed.add_file("seccomp", seccomp_program(counts_all_memory=group.counts_all_memory))
    command = bubblewrap(find_bubblewrap(), limits, status=status, seccomp=seccomp, texts=_texts(runtime, passed))
    names: Mapping[str, int | str]
    binds: dict[str, str] = {}
    if passed.files:
        names = {name: number for number, name in enumerate(files, syscalls.FIRST_DESCRIPTOR)}
    else:
        names = {name: f"{INSIDE}/data/{name}" for name in files}
        binds = {f"{INSIDE}/data/{name}": path for name, path in files.items()}
    task = task_of(request, answer, names, limits.processes if processes_are_counted_inside() else None)
    python = [ISOLATED_PYTHON, *program] if program else interpreter(ISOLATED_PYTHON, where_inside(runtime), task)
    return _bubblewrapped(request, passed, command, binds, python)


def parent_sandbox(
    request: RunRequest,
    passed: Passed,
    server: int,
    filtered: bytes,
    imports: Sequence[str],
    folders: Mapping[str, Path],
) -> dict[str, object]:
    """What starts a warm parent for such runs; what it needs is added to `passed`.

    Args:
        request: a run like those that it will be forked for.
        passed: what it gets.
        server: its number of the socket on which it is told of runs.
        filtered: the filter of system calls, which it gives to its runs.
        imports: modules that it imports besides those of every run.
        folders: by path inside, what it sees besides.

    Raises:
        PlatformError: bubblewrap is missing.
    """
    runtime = request.runtime
    told = {"socket": server, "filter": passed.add_file("filter", filtered), "imports": list(imports)}
    command = bubblewrap(find_bubblewrap(), request.limits, texts=_texts(runtime, passed), parent=True)
    python = interpreter(ISOLATED_PYTHON, where_inside(runtime), told, "fork_server")
    binds = {inside: str(path) for inside, path in folders.items()}
    return {**_bubblewrapped(request, passed, command, binds, python), "parent": None}


def _bubblewrapped(
    request: RunRequest,
    passed: Passed,
    command: list[str],
    binds: Mapping[str, str],
    python: Sequence[str],
) -> dict[str, object]:
    """The launcher's configuration for `python` in a sandbox that sees the runtime, `binds` and what is passed."""
    runtime = request.runtime
    uid = user_of(request.slot)
    folders = {"prefix": str(runtime.prefix), "packages": str(runtime.packages), "runner": str(RUNNER)}
    folders["trees"] = str(TREES)
    staging = None
    if uid is not None:
        staging = {"at": _STAGING, "folders": folders, "files": passed.files}
        folders = {name: f"{_STAGING}/{name}" for name in folders}
    inner = inside(runtime, Folders(**folders), binds, request.limits, seeded=request.seed is not None)
    # By a descriptor, because every process of the run can read the first one's command line.
    options = passed.add_file("options", b"\0".join(map(os.fsencode, [*command[1:], *inner])) + b"\0")
    return {"uid": uid, "staging": staging, "argv": [command[0], "--args", str(options), "--", *python]}


def _texts(runtime: RuntimePaths, passed: Passed) -> dict[int, str]:
    texts = etc_files() | environment_files(runtime)
    return {passed.add_file("text", text.encode()): path for path, text in texts.items()}


def _plain(request: RunRequest, stack: ExitStack, answer: int) -> dict[str, object]:
    """No isolation: a process of the server's own user, in a folder of its own."""
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="predictd-run-", ignore_cleanup_errors=True)))
    (home / "code").mkdir()
    (home / "scratch").mkdir()
    (home / "code" / "predictd_runner").symlink_to(RUNNER)
    (home / "code" / "predictd_trees").symlink_to(TREES)
    runtime = request.runtime
    at = Folders(
        prefix=str(runtime.prefix),
        packages=str(runtime.packages),
        runner=str(home / "code" / "predictd_runner"),
        trees=str(home / "code" / "predictd_trees"),
    )
    env = environment(request.limits, str(home / "scratch"), seeded=request.seed is not None)
    if any(runtime.prefix.glob("lib/libpython3*.so*")):
        env["LD_LIBRARY_PATH"] = str(runtime.prefix / "lib")
    own = runtime.packages.parents[2] / "bin" / "python"
    python = str(own if own.exists() else runtime.python)
    argv = interpreter(python, at, task_of(request, answer, data_files(request), None))
    return {"argv": argv, "env": env, "reap": True}


def task_of(
    request: RunRequest, answer: int, names: Mapping[str, int | str], processes: int | None
) -> dict[str, object]:
    """What the runner is told; `names` are descriptors or paths."""
    keep = request.limits.output_bytes if request.keep_tables else None
    told: dict[str, object] = {"processes": processes, "trees": request.trees, "keep_tables": keep}
    told |= {"proven": request.proven, "seed": request.seed}
    return {"answer": answer, "benchmarks": None, "tables": None, **names, **told}


def environment_of(request: RunRequest) -> dict[str, str]:
    """The environment of the run's model in a sandbox."""
    return environment_inside(request.runtime, request.limits, seeded=request.seed is not None)


def data_files(request: RunRequest) -> dict[str, str]:
    """The files that a run reads, by their name in the task: absolute paths."""
    files = {"pickle": request.pickle, "live": request.live, "benchmarks": request.benchmarks, "tables": request.tables}
    return {name: str(path.absolute()) for name, path in files.items() if path is not None}


def _pipe(stack: ExitStack) -> tuple[int, int]:
    """A new pipe; its read end is closed with the stack."""
    read, write = os.pipe()
    stack.callback(os.close, read)
    return read, write


def processes_are_counted_inside() -> bool:
    """Whether the kernel counts a user's processes for each user namespace by itself."""
    numbers = platform.release().split(".")[:2]
    return tuple(int("".join(filter(str.isdigit, n)) or 0) for n in numbers) >= _COUNTS_PER_NAMESPACE
