"""Test whether this machine can isolate a run, by trying to escape from one."""

import os
import pickle
import selectors
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from predictd.domain.errors import PlatformError, SetupError
from predictd.domain.limits import MIB, Limits
from predictd.domain.runs import RunRequest, RuntimePaths, SandboxKind
from predictd.sandbox import escapes
from predictd.sandbox.cgroups import Hierarchy
from predictd.sandbox.container_engine import find_engine
from predictd.sandbox.fork_pool import ForkPool
from predictd.sandbox.isolated_run import launch, run
from predictd.sandbox.launch import find_bubblewrap, seccomp_program, slot_user
from predictd.sandbox.resource_group import ResourceGroup, create_resource_group, hierarchy

_TIMEOUT_SECONDS = 20.0
_PROBE_SLOT = 999
_LIMITS = Limits(memory_bytes=128 * MIB, scratch_bytes=MIB, processes=16)
# Above the limit, and below the rlimits that apply in addition where memory is sampled.
_EXCESSIVE_MIB = 192
_MAX_OUTPUT_BYTES = 16 * 1024


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """How far this machine can isolate a run.

    Attributes:
        kind: the tested kind of sandbox.
        version: of bubblewrap or the container engine, None if it is not installed.
        starts: whether a sandbox like that of a run starts.
        blocked: attempts to escape that failed, as they must.
        open: attempts to escape that succeeded.
        memory: how a run's memory is limited: by control groups or by sampling its processes.
        memory_is_limited: whether a run that exceeds its limit is ended and reported as out of memory.
        separate_users: whether every slot has its own user; requires a server that runs as root.
        problems: reasons why this machine can't isolate a run, each with its remedy.
        notes: possible improvements, each with its remedy.
    """

    kind: SandboxKind
    version: str | None
    starts: bool
    blocked: tuple[str, ...]
    open: tuple[str, ...]
    memory: Literal["cgroup v1", "cgroup v2", "sampling"]
    memory_is_limited: bool
    separate_users: bool
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_available(self) -> bool:
        """Return whether untrusted code may run here."""
        return not self.problems


def probe(kind: SandboxKind = SandboxKind.BUBBLEWRAP) -> Isolation:
    """Start a sandbox, try to escape from it and to exceed its memory.

    Takes half a second; for a container some seconds the first time, which builds the image of the server's own Python.
    """
    problems: list[str] = []
    version: str | None = None
    is_memory_limited = False
    results: dict[str, bool] = {}
    try:
        version = _version(kind)
        results, last_line = _run_attempts(kind)
        problems += _find_problems(kind, results, last_line)
        is_memory_limited = bool(results) and _run_inside(kind, str(_EXCESSIVE_MIB))[1]
        if results and not is_memory_limited:
            problems.append("A run that exceeded its memory limit was not ended; see the server's log.")
    except PlatformError as error:
        problems.append(error.message)
    groups = hierarchy()
    return Isolation(
        kind=kind,
        version=version,
        starts=bool(results),
        blocked=tuple(name for name, is_open in results.items() if not is_open),
        open=tuple(name for name, is_open in results.items() if is_open),
        memory="sampling" if groups is None else "cgroup v1" if groups.version == "v1" else "cgroup v2",
        memory_is_limited=is_memory_limited,
        separate_users=slot_user(0) is not None,
        problems=tuple(problems),
        notes=_find_notes(groups),
    )


def choose_sandbox(kind: SandboxKind, *, trust_users: bool) -> tuple[SandboxKind, str]:
    """Return the kind of sandbox to use: the requested one, or none if it fails and the users are trusted.

    Returns:
        The kind, and the problems of the requested one, empty if it works.

    Raises:
        SetupError: The machine can't isolate models and the users are not trusted.
    """
    if kind is SandboxKind.NONE:
        if not trust_users:
            raise SetupError(
                "PREDICTD_SANDBOX=none isolates nothing. Pass --trust-users if you trust everyone who uploads."
            )
        return kind, "it is turned off (PREDICTD_SANDBOX=none)"
    isolation = probe(kind)
    if isolation.is_available:
        return kind, ""
    problems = " ".join(isolation.problems)
    if not trust_users:
        raise SetupError(
            f"This machine can't isolate models, so it runs none: {problems} "
            "To run models of trusted users anyway, pass --trust-users (PREDICTD_TRUST_USERS=1)."
        )
    return SandboxKind.NONE, problems


def _find_problems(kind: SandboxKind, results: dict[str, bool], last_line: str) -> list[str]:
    if not results and kind is not SandboxKind.BUBBLEWRAP:
        return [f"{kind.value} can't start a container ({last_line})."]
    if not results:
        return [
            f"bubblewrap can't create a sandbox ({last_line}); allow user namespaces (sysctl "
            "user.max_user_namespaces=10000 kernel.apparmor_restrict_unprivileged_userns=0), or start the server "
            "outside of an unprivileged container."
        ]
    succeeded = [name for name, is_open in results.items() if is_open]
    missing = [name for name in escapes.NAMES if name not in results]
    if succeeded:
        return [f"The sandbox leaks: {', '.join(succeeded)} succeeded inside; update {kind.value} and the kernel."]
    if missing:
        return [f"The test of the sandbox ended early ({last_line}), before it tried: {', '.join(missing)}."]
    return []


def _find_notes(groups: Hierarchy | None) -> tuple[str, ...]:
    notes = []
    if groups is None:
        notes.append(
            "Memory is limited by sampling, because no control group can be created. Start the server as root, or with "
            "systemd-run --user --scope -p Delegate=yes."
        )
    if slot_user(0) is None:
        notes.append("All runs share the server's user. Start the server as root to give each slot its own user.")
    return tuple(notes)


def _version(kind: SandboxKind) -> str | None:
    if kind is SandboxKind.PODMAN or kind is SandboxKind.DOCKER:
        return find_engine(kind.value).version
    executable = find_bubblewrap()
    seccomp_program()
    with suppress(OSError, subprocess.SubprocessError):
        completed = subprocess.run(
            [executable, "--version"], capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=True
        )
        return completed.stdout.split()[-1]
    return None


def _run_attempts(kind: SandboxKind) -> tuple[dict[str, bool], str]:
    """Return by name whether each attempt succeeded, and the last other line of the output."""
    return _parse_attempts(_run_inside(kind)[0])


def _parse_attempts(output: bytes) -> tuple[dict[str, bool], str]:
    results: dict[str, bool] = {}
    last_line = "it printed nothing"
    for line in output.decode("utf-8", "replace").splitlines():
        word, _, name = line.partition(" ")
        if word in ("blocked", "open") and name in escapes.NAMES:
            results[name] = word == "open"
        elif line.strip():
            last_line = line.strip()
    return results, last_line


def probe_forked(fork_pool: ForkPool, runtime: RuntimePaths, limits: Limits, folder: Path) -> list[str]:
    """Return reasons why a forked run is not isolated, by trying to escape from one.

    Afterwards its fork server serves the seeded runs of the first slot.

    Args:
        fork_pool: can fork runs with files in `folder`.
        runtime: of the run.
        limits: of the run.
        folder: a writable folder for temporary files.

    Raises:
        PlatformError: The run can't be started.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="probe-") as probe_folder:
        attempt, data = Path(probe_folder, "attempt.pkl"), Path(probe_folder, "nothing.parquet")
        attempt.write_bytes(pickle.dumps(_Attempt()))
        pq.write_table(pa.table({"id": ["a"]}), data)
        request = RunRequest(pickle=attempt, live=data, benchmarks=None, runtime=runtime, limits=limits, seed=0)
        printed: list[bytes] = []
        report = run(request, on_log=printed.append, fork_pool=fork_pool)
    results, last_line = _parse_attempts(b"".join(printed))
    if not results and report.failure is not None:
        last_line = report.failure.describe()
    return _find_problems(SandboxKind.BUBBLEWRAP, results, last_line)


class _Attempt:
    """Pickled, a model that runs every attempt when it is loaded; the runner then rejects it."""

    def __reduce__(self) -> tuple[object, ...]:
        return exec, (Path(escapes.__file__).read_text(), {"__name__": "__main__"})


def _run_inside(kind: SandboxKind, *arguments: str) -> tuple[bytes, bool]:
    """Run `escapes` in a sandbox; return its output and whether it ran out of memory."""
    program_file = Path(escapes.__file__)
    request = RunRequest(
        pickle=program_file,
        live=program_file,
        benchmarks=None,
        runtime=_own_python(program_file.parent),
        limits=_LIMITS,
        slot=_PROBE_SLOT,
    )
    program = ["-I", "-S", "-B", f"/opt/runtime/lib/python{request.runtime.version}/site-packages/{program_file.name}"]
    group = create_resource_group(_LIMITS, _PROBE_SLOT)
    try:
        with launch(request, group, kind, [*program, *arguments]) as handle:
            output = _read_output(handle.log, group)
            handle.kill()
            is_out_of_memory = group.ran_out_of_memory()
            group.close()
            handle.release()
            return output, is_out_of_memory
    finally:
        group.close()


def _read_output(log: int, group: ResourceGroup) -> bytes:
    """Return the output until the end, the memory limit or the deadline."""
    output = b""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(log, selectors.EVENT_READ)
        while len(output) < _MAX_OUTPUT_BYTES and time.monotonic() < deadline and not group.ran_out_of_memory():
            if selector.select(0.1):
                data = os.read(log, 4096)
                if not data:
                    break
                output += data
    return output


def _own_python(packages: Path) -> RuntimePaths:
    """Return the interpreter of this process, with the given folder instead of packages."""
    executable = Path(getattr(sys, "_base_executable", "") or sys.executable).resolve()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return RuntimePaths(
        version=version, python=executable, prefix=Path(sys.base_prefix).resolve(), packages=packages.resolve()
    )
