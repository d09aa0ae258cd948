"""Whether this machine can isolate a run: asked by trying to get out of one."""

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
from predictd.sandbox.fork_pool import WarmParents
from predictd.sandbox.launch import find_bubblewrap, seccomp_program, user_of
from predictd.sandbox.resource_group import ResourceGroup
from predictd.sandbox.resources import hierarchy, resource_group
from predictd.sandbox.runs import launch, run

_SECONDS = 20.0
_PROBE_SLOT = 999
_LIMITS = Limits(memory_bytes=128 * MIB, scratch_bytes=MIB, processes=16)
# More than the limit, and less than the rlimits that stand behind it where memory is sampled.
_TOO_MUCH_MIB = 192
_SAID_BYTES = 16 * 1024


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """What this machine can do to isolate a run.

    Attributes:
        kind: what was tried.
        version: of bubblewrap or of the container engine, None when it is not installed.
        starts: whether a sandbox like that of a run came up.
        shut: attempts to get out of it that failed, as they must.
        open: attempts to get out of it that worked.
        memory: by what a run's memory is limited: control groups of a version, or samples of its processes.
        memory_is_limited: whether a run that took more than its limit was ended, and told as out of memory.
        separate_users: whether every slot has a user of its own; needs a server that is root.
        problems: what keeps this machine from isolating a run, each with its remedy.
        notes: what could be better, each with its remedy.
    """

    kind: SandboxKind
    version: str | None
    starts: bool
    shut: tuple[str, ...]
    open: tuple[str, ...]
    memory: Literal["cgroup v1", "cgroup v2", "sampling"]
    memory_is_limited: bool
    separate_users: bool
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_available(self) -> bool:
        """Whether strangers' code may run here."""
        return not self.problems


def probe(kind: SandboxKind = SandboxKind.BUBBLEWRAP) -> Isolation:
    """Make a sandbox, try to get out of it and to exceed its memory.

    Takes half a second; in a container, where the image of the server's own Python is made first, some seconds once.
    """
    problems: list[str] = []
    version: str | None = None
    limited = False
    results: dict[str, bool] = {}
    try:
        version = _version(kind)
        results, complaint = _attempts(kind)
        problems += _wrong(kind, results, complaint)
        limited = bool(results) and _run_inside(kind, str(_TOO_MUCH_MIB))[1]
        if results and not limited:
            problems.append("A run that took more than its memory was not ended; look into the server's log.")
    except PlatformError as error:
        problems.append(error.message)
    groups = hierarchy()
    return Isolation(
        kind=kind,
        version=version,
        starts=bool(results),
        shut=tuple(name for name, is_open in results.items() if not is_open),
        open=tuple(name for name, is_open in results.items() if is_open),
        memory="sampling" if groups is None else "cgroup v1" if groups.version == "v1" else "cgroup v2",
        memory_is_limited=limited,
        separate_users=user_of(0) is not None,
        problems=tuple(problems),
        notes=_notes(groups),
    )


def choose_sandbox(kind: SandboxKind, *, trust_users: bool) -> tuple[SandboxKind, str]:
    """What runs get: the wanted kind, or none where it does not isolate and the users are trusted.

    Returns:
        The kind, and what is wrong with the wanted one, empty if nothing.

    Raises:
        SetupError: the machine can't isolate models and the users are not trusted.
    """
    if kind is SandboxKind.NONE:
        if not trust_users:
            raise SetupError("PREDICTD_SANDBOX=none isolates nothing; say --trust-users if you trust whoever uploads.")
        return kind, "it is switched off (PREDICTD_SANDBOX=none)"
    isolation = probe(kind)
    if isolation.is_available:
        return kind, ""
    problems = " ".join(isolation.problems)
    if not trust_users:
        raise SetupError(
            f"This machine can't isolate models, so it runs nobody's: {problems} "
            "To run models of users whom you trust all the same, say --trust-users (PREDICTD_TRUST_USERS=1)."
        )
    return SandboxKind.NONE, problems


def _wrong(kind: SandboxKind, results: dict[str, bool], complaint: str) -> list[str]:
    if not results and kind is not SandboxKind.BUBBLEWRAP:
        return [f"{kind.value} can't start a container ({complaint})."]
    if not results:
        return [
            f"bubblewrap can't make a sandbox ({complaint}); allow user namespaces (sysctl "
            "user.max_user_namespaces=10000 kernel.apparmor_restrict_unprivileged_userns=0), or start the server "
            "outside of an unprivileged container."
        ]
    opened = [name for name, is_open in results.items() if is_open]
    missing = [name for name in escapes.NAMES if name not in results]
    if opened:
        return [f"The sandbox leaks: {', '.join(opened)} worked inside; update {kind.value} and the kernel."]
    if missing:
        return [f"The sandbox's own test ended early ({complaint}), before it tried: {', '.join(missing)}."]
    return []


def _notes(groups: Hierarchy | None) -> tuple[str, ...]:
    notes = []
    if groups is None:
        notes.append(
            "Memory is watched by sampling, because no control group can be made; start the server as root, or with "
            "systemd-run --user --scope -p Delegate=yes."
        )
    if user_of(0) is None:
        notes.append("All runs share the server's user; start the server as root to give each slot a user of its own.")
    return tuple(notes)


def _version(kind: SandboxKind) -> str | None:
    if kind is SandboxKind.PODMAN or kind is SandboxKind.DOCKER:
        return find_engine(kind.value).version
    executable = find_bubblewrap()
    seccomp_program()
    with suppress(OSError, subprocess.SubprocessError):
        shown = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=True)
        return shown.stdout.split()[-1]
    return None


def _attempts(kind: SandboxKind) -> tuple[dict[str, bool], str]:
    """Whether each attempt worked, by name, and the last thing that the sandbox said besides."""
    return _results(_run_inside(kind)[0])


def _results(said: bytes) -> tuple[dict[str, bool], str]:
    results: dict[str, bool] = {}
    complaint = "it said nothing"
    for line in said.decode("utf-8", "replace").splitlines():
        word, _, name = line.partition(" ")
        if word in ("shut", "open") and name in escapes.NAMES:
            results[name] = word == "open"
        elif line.strip():
            complaint = line.strip()
    return results, complaint


def probe_forked(parents: WarmParents, runtime: RuntimePaths, limits: Limits, folder: Path) -> list[str]:
    """What keeps a run that is forked from a warm parent from being isolated, found by trying to get out of one.

    The warm parent is one that seeded runs of the first slot are forked from afterwards.

    Args:
        parents: may fork runs whose files lie in `folder`.
        runtime: what the run is of.
        limits: of the run.
        folder: writable; what is put there is removed.

    Raises:
        PlatformError: no such run can be started.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="probe-") as inside:
        attempt, nothing = Path(inside, "attempt.pkl"), Path(inside, "nothing.parquet")
        attempt.write_bytes(pickle.dumps(_Attempt()))
        pq.write_table(pa.table({"id": ["a"]}), nothing)
        request = RunRequest(pickle=attempt, live=nothing, benchmarks=None, runtime=runtime, limits=limits, seed=0)
        printed: list[bytes] = []
        report = run(request, on_log=printed.append, parents=parents)
    results, complaint = _results(b"".join(printed))
    if not results and report.failure is not None:
        complaint = report.failure.describe()
    return _wrong(SandboxKind.BUBBLEWRAP, results, complaint)


class _Attempt:
    """Pickled: a model that makes every attempt when it is loaded, which the runner refuses afterwards."""

    def __reduce__(self) -> tuple[object, ...]:
        return exec, (Path(escapes.__file__).read_text(), {"__name__": "__main__"})


def _run_inside(kind: SandboxKind, *arguments: str) -> tuple[bytes, bool]:
    """Run `escapes` in a sandbox; what it printed, and whether it ran out of memory."""
    here = Path(escapes.__file__)
    request = RunRequest(
        pickle=here, live=here, benchmarks=None, runtime=_own_python(here.parent), limits=_LIMITS, slot=_PROBE_SLOT
    )
    program = ["-I", "-S", "-B", f"/opt/runtime/lib/python{request.runtime.version}/site-packages/{here.name}"]
    group = resource_group(_LIMITS, _PROBE_SLOT)
    try:
        with launch(request, group, kind, [*program, *arguments]) as started:
            said = _listen(started.log, group)
            started.kill()
            ran_out = group.ran_out_of_memory()
            group.close()
            started.release()
            return said, ran_out
    finally:
        group.close()


def _listen(log: int, group: ResourceGroup) -> bytes:
    """What is said until the end, the limit of memory or the deadline."""
    said = b""
    deadline = time.monotonic() + _SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(log, selectors.EVENT_READ)
        while len(said) < _SAID_BYTES and time.monotonic() < deadline and not group.ran_out_of_memory():
            if selector.select(0.1):
                data = os.read(log, 4096)
                if not data:
                    break
                said += data
    return said


def _own_python(packages: Path) -> RuntimePaths:
    """The interpreter that runs this, which every machine has, with a folder of ours in the place of packages."""
    executable = Path(getattr(sys, "_base_executable", "") or sys.executable).resolve()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return RuntimePaths(
        version=version, python=executable, prefix=Path(sys.base_prefix).resolve(), packages=packages.resolve()
    )
