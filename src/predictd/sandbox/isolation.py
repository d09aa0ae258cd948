"""Whether this machine can isolate a run: asked by doing it."""

import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from predictd.domain.errors import PlatformError, SetupError
from predictd.domain.limits import MIB, Limits
from predictd.sandbox.command import bubblewrap
from predictd.sandbox.launch import find_bubblewrap, memory_file, seccomp_program, start, user_of
from predictd.sandbox.runs import hierarchy

_SECONDS = 20.0
_PROBE_SLOT = 999


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """What this machine can do to isolate a run.

    Attributes:
        bubblewrap: its version, None when it is not installed.
        user_namespaces: whether a sandbox like that of a run came up.
        seccomp: whether the filter of system calls can be made.
        cgroup: version of the control groups that a run gets, None when memory is watched by sampling instead.
        separate_users: whether every slot has a user of its own; needs a server that is root.
        problems: what keeps this machine from isolating a run, each with its remedy.
        notes: what could be better, each with its remedy.
    """

    bubblewrap: str | None
    user_namespaces: bool
    seccomp: bool
    cgroup: Literal["v1", "v2"] | None
    separate_users: bool
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_available(self) -> bool:
        """Whether strangers' code may run here."""
        return not self.problems

    def require(self) -> None:
        """Raise if strangers' code may not run here.

        Raises:
            SetupError: names every problem with its remedy.
        """
        if self.problems:
            raise SetupError(
                "This machine can't isolate models: " + " ".join(self.problems) + " To run models that you trust all "
                "the same, set PREDICTD_TRUST_USERS=1."
            )


def probe() -> Isolation:
    """Try everything once; takes about a tenth of a second."""
    problems: list[str] = []
    version: str | None = None
    filtered = namespaces = False
    try:
        executable = find_bubblewrap()
        version = _version(executable)
        seccomp_program()
        filtered = True
        complaint = _try(executable)
        namespaces = complaint is None
        if complaint is not None:
            problems.append(
                f"bubblewrap can't make a sandbox ({complaint}); allow user namespaces (sysctl "
                "user.max_user_namespaces=10000 kernel.apparmor_restrict_unprivileged_userns=0), or start the server "
                "outside of an unprivileged container."
            )
    except PlatformError as error:
        problems.append(error.message)
    groups = hierarchy()
    notes = []
    if groups is None:
        notes.append(
            "Memory is watched by sampling, because no control group can be made; start the server as root, or with "
            "systemd-run --user --scope -p Delegate=yes."
        )
    if user_of(0) is None:
        notes.append("All runs share the server's user; start the server as root to give each slot a user of its own.")
    return Isolation(
        bubblewrap=version,
        user_namespaces=namespaces,
        seccomp=filtered,
        cgroup=None if groups is None else groups.version,
        separate_users=user_of(0) is not None,
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _version(executable: str) -> str | None:
    with suppress(OSError, subprocess.SubprocessError):
        shown = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=True)
        return shown.stdout.split()[-1]
    return None


def _try(executable: str) -> str | None:
    """Bring up an empty sandbox; what it complains of, None if nothing."""
    limits = Limits(scratch_bytes=MIB)
    true = next((str(p) for p in (Path("/usr/bin/true"), Path("/bin/true")) if p.exists()), "/bin/true")
    status, told = os.pipe()
    output, written = os.pipe()
    passed = [told, memory_file("seccomp", seccomp_program())]
    try:
        command = bubblewrap(executable, limits, status=told, seccomp=passed[1])
        config = {"uid": user_of(_PROBE_SLOT), "argv": [*command, "--remount-ro", "/", "--", true]}
        process = start(config, limits, passed, written)
        os.close(written)
        written = -1
        try:
            code = process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code == 0:
            return None
        lines = os.read(output, 4096).decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {code}"
    finally:
        for descriptor in (status, output, *passed, *([written] if written >= 0 else [])):
            os.close(descriptor)
