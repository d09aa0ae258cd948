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
from predictd.domain.runs import RunRequest
from predictd.sandbox import seccomp
from predictd.sandbox.command import (
    ISOLATED_PYTHON,
    RUNNER,
    Folders,
    bubblewrap,
    environment,
    environment_files,
    etc_files,
    inside,
    interpreter,
)
from predictd.sandbox.groups import ResourceGroup
from predictd.sandbox.launched import Bubblewrapped, Launched, PlainProcess

_LAUNCHER = Path(__file__).with_name("launcher.py")
_STAGING = "/tmp"  # noqa: S108 (covered by a private tmpfs, in a mount namespace of the launcher's own)
_FIRST_USER = 200_000
_FIRST_FILE = 200
_OPEN_FILES = 1024
# From here on the kernel counts the processes of a user for each user namespace by itself.
_COUNTS_PER_NAMESPACE = (5, 14)


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
    with ExitStack() as stack:
        passed: list[int] = []
        status: int | None = None
        try:
            answer, log = _pipe(stack, passed), _pipe(stack, passed)
            answer_write, log_write = passed
            if isolate:
                status = _pipe(stack, passed)
                config = _isolated(request, group, passed, answer_write, passed[-1], program)
            else:
                config = _plain(request, stack, answer_write)
            config |= {"joins": list(group.joins), "cpus": group.processors}
            config |= {"rlimits": {**_file_limits(request.limits), **group.rlimits}}
            process = start(config, [fd for fd in passed if fd != log_write], log_write)
        finally:
            for descriptor in passed:
                os.close(descriptor)
        group.watch(process.pid)
        if status is None:
            yield PlainProcess(process, answer, log)
        else:
            most = request.limits.processes if _processes_are_counted_inside() else None
            yield Bubblewrapped(process, answer, log, status, most)


def start(config: Mapping[str, object], passed: list[int], output: int) -> subprocess.Popen[bytes]:
    """Start the launcher with what `config` adds to the defaults (see launcher.py).

    Raises:
        PlatformError: the process can't be started.
    """
    whole = {
        "parent": os.getpid(),
        "joins": [],
        "cpus": None,
        "uid": None,
        "staging": None,
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
            pass_fds=[told, *passed],
        )
    except OSError as error:
        raise PlatformError(f"The sandbox could not be started: {error.strerror}.") from error
    finally:
        os.close(told)


def _file_limits(limits: Limits) -> dict[str, int]:
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
    passed: list[int],
    answer: int,
    status: int,
    program: Sequence[str],
) -> dict[str, object]:
    def keep(name: str, content: bytes) -> int:
        passed.append(memory_file(name, content))
        return passed[-1]

    runtime, limits = request.runtime, request.limits
    uid = user_of(request.slot)
    files = _data_files(request)
    made = etc_files() | environment_files(runtime)
    texts = {keep("text", text.encode()): path for path, text in made.items()}
    seccomp = keep("seccomp", seccomp_program(counts_all_memory=group.counts_all_memory))
    command = bubblewrap(find_bubblewrap(), limits, status=status, seccomp=seccomp, texts=texts)
    folders = {"prefix": str(runtime.prefix), "packages": str(runtime.packages), "runner": str(RUNNER)}
    names: Mapping[str, int | str]
    if uid is None:
        staging = None
        paths = {f"/opt/predictd/data/{name}": path for name, path in files.items()}
        names = {name: f"/opt/predictd/data/{name}" for name in files}
        binds, at = inside(runtime, Folders(**folders), paths, limits)
    else:
        first = max(_FIRST_FILE, *(descriptor + 64 for descriptor in passed))
        names = {name: first + i for i, name in enumerate(files)}
        staging = {"at": _STAGING, "folders": folders, "files": {names[name]: path for name, path in files.items()}}
        binds, at = inside(runtime, Folders(**{name: f"{_STAGING}/{name}" for name in folders}), {}, limits)
    task = _task(answer, names, limits.processes if _processes_are_counted_inside() else None)
    python = [ISOLATED_PYTHON, *program] if program else interpreter(ISOLATED_PYTHON, at, task)
    # By a descriptor, because every process of the run can read the first one's command line.
    options = keep("options", b"\0".join(os.fsencode(one) for one in [*command[1:], *binds]) + b"\0")
    return {"uid": uid, "staging": staging, "argv": [command[0], "--args", str(options), "--", *python]}


def _plain(request: RunRequest, stack: ExitStack, answer: int) -> dict[str, object]:
    """No isolation: a process of the server's own user, in a folder of its own."""
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="predictd-run-", ignore_cleanup_errors=True)))
    (home / "code").mkdir()
    (home / "scratch").mkdir()
    (home / "code" / "predictd_runner").symlink_to(RUNNER)
    runtime = request.runtime
    at = Folders(
        prefix=str(runtime.prefix), packages=str(runtime.packages), runner=str(home / "code" / "predictd_runner")
    )
    env = environment(request.limits, str(home / "scratch"))
    if any(runtime.prefix.glob("lib/libpython3*.so*")):
        env["LD_LIBRARY_PATH"] = str(runtime.prefix / "lib")
    own = runtime.packages.parents[2] / "bin" / "python"
    python = str(own if own.exists() else runtime.python)
    argv = interpreter(python, at, _task(answer, _data_files(request), None))
    return {"argv": argv, "env": env, "reap": True}


def _task(answer: int, names: Mapping[str, int | str], processes: int | None) -> dict[str, object]:
    return {"answer": answer, "benchmarks": None, **names, "processes": processes}


def _data_files(request: RunRequest) -> dict[str, str]:
    files = {"pickle": request.pickle, "live": request.live, "benchmarks": request.benchmarks}
    return {name: str(path.absolute()) for name, path in files.items() if path is not None}


def _pipe(stack: ExitStack, writes: list[int]) -> int:
    """The read end of a new pipe, closed with the stack; the write end joins `writes`, whose owner closes it."""
    read, write = os.pipe()
    stack.callback(os.close, read)
    writes.append(write)
    return read


def _processes_are_counted_inside() -> bool:
    numbers = platform.release().split(".")[:2]
    return tuple(int("".join(filter(str.isdigit, n)) or 0) for n in numbers) >= _COUNTS_PER_NAMESPACE
