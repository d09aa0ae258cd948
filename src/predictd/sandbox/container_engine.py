"""The container engine of this machine, Podman or Docker, and how it is called."""

import functools
import logging
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from predictd.domain.errors import PlatformError

log = logging.getLogger(__name__)

EngineName = Literal["podman", "docker"]
_SECONDS = 60.0
_LABEL = "predictd.server"


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine that answers.

    Attributes:
        name: which one.
        version: as it tells it.
        command: its executable with the options that every call needs.
    """

    name: EngineName
    version: str
    command: tuple[str, ...]

    def call(self, *arguments: str, check: bool = True) -> str:
        """Run one of its commands; what it printed.

        Raises:
            PlatformError: it failed, with its last words; not if `check` is false.
        """
        try:
            done = subprocess.run(
                [*self.command, *arguments],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PlatformError(f"{self.name} {arguments[0]} did not end: {error}.") from error
        if check and done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise PlatformError(f"{self.name} {arguments[0]} failed: {lines[-1].rstrip('.')}.")
        return done.stdout

    def label(self) -> str:
        """The label of this server's containers, by which a later one finds what a dead one left."""
        return f"{_LABEL}={os.getpid()}"

    def remove_leftovers(self) -> None:
        """Remove the containers of servers that are dead."""
        for container in self.call("ps", "--all", "--quiet", "--filter", f"label={_LABEL}").split():
            # Not asked of `ps`, whose format has no single label in Podman 4.3. Empty if the container is gone by now.
            owner = self.call(
                "inspect", "--format", f'{{{{index .Config.Labels "{_LABEL}"}}}}', container, check=False
            ).strip()
            if owner.isdecimal() and not Path(f"/proc/{owner}").exists():
                self.call("rm", "--force", container, check=False)


@functools.cache
def find_engine(name: EngineName) -> Engine:
    """The engine, once it has answered; its leftovers of dead servers are removed.

    Raises:
        PlatformError: it is not installed or does not answer.
    """
    path = shutil.which(name)
    if path is None:
        raise PlatformError(f"{name} is missing on this machine: apt-get install {_package(name)}.")
    engine = Engine(name=name, version="", command=(path, *_options(name)))
    version = engine.call("version", "--format", "{{.Client.Version}}").strip()
    engine = Engine(name=name, version=version, command=engine.command)
    engine.remove_leftovers()
    return engine


def engines() -> list[Engine]:
    """Those of this machine that answer."""
    found = []
    names: Sequence[EngineName] = ("podman", "docker")
    for name in names:
        try:
            found.append(find_engine(name))
        except PlatformError as error:
            log.debug("%s", error.message)
    return found


def _package(name: EngineName) -> str:
    return "podman" if name == "podman" else "docker.io"


def _options(name: EngineName) -> list[str]:
    """What Podman needs on machines without systemd, and with both versions of cgroups, which crun refuses."""
    if name == "docker":
        return []
    options = [] if Path("/run/systemd/system").is_dir() else ["--cgroup-manager=cgroupfs"]
    if Path("/sys/fs/cgroup/memory").is_dir() and shutil.which("runc") is not None:
        options += ["--runtime", "runc"]
    return options
