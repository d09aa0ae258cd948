"""The container engines of this machine, Podman and Docker."""

import functools
import logging
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from predictd.domain.errors import PlatformError

log = logging.getLogger(__name__)

EngineName = Literal["podman", "docker"]
_TIMEOUT_SECONDS = 60.0
_LABEL = "predictd.server"


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine that responds.

    Attributes:
        name: podman or docker.
        version: as the engine reports it.
        command: the executable with the options that every call needs.
    """

    name: EngineName
    version: str
    command: tuple[str, ...]

    def call(self, *arguments: str, check: bool = True) -> str:
        """Run a command of the engine and return its output.

        Raises:
            PlatformError: The command failed (only if `check`) or did not end within 60 seconds.
        """
        try:
            completed = subprocess.run(
                [*self.command, *arguments],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_SECONDS,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PlatformError(f"{self.name} {arguments[0]} did not end: {error}.") from error
        if check and completed.returncode != 0:
            lines = completed.stderr.strip().splitlines() or [f"exit code {completed.returncode}"]
            raise PlatformError(f"{self.name} {arguments[0]} failed: {lines[-1].rstrip('.')}.")
        return completed.stdout

    def label(self) -> str:
        """Return the label of this server's containers, by which a later server finds the leftovers of a dead one."""
        return f"{_LABEL}={os.getpid()}"

    def remove_leftovers(self) -> None:
        """Remove the containers of dead servers."""
        for container in self.call("ps", "--all", "--quiet", "--filter", f"label={_LABEL}").split():
            # `ps` of Podman 4.3 can't format a single label. Empty if the container no longer exists.
            owner = self.call(
                "inspect", "--format", f'{{{{index .Config.Labels "{_LABEL}"}}}}', container, check=False
            ).strip()
            if owner.isdecimal() and not Path(f"/proc/{owner}").exists():
                self.call("rm", "--force", container, check=False)


@functools.cache
def find_engine(name: EngineName) -> Engine:
    """Return the engine after it has responded; remove the leftovers of dead servers.

    Raises:
        PlatformError: The engine is not installed or does not respond.
    """
    path = shutil.which(name)
    if path is None:
        raise PlatformError(f"{name} is missing on this machine: apt-get install {_package(name)}.")
    engine = Engine(name=name, version="", command=(path, *_options(name)))
    version = engine.call("version", "--format", "{{.Client.Version}}").strip()
    engine = Engine(name=name, version=version, command=engine.command)
    engine.remove_leftovers()
    return engine


def _package(name: EngineName) -> str:
    return "podman" if name == "podman" else "docker.io"


def _options(name: EngineName) -> list[str]:
    """Return options for machines without systemd, and for machines with both cgroup versions, which crun refuses."""
    if name == "docker":
        return []
    options = [] if Path("/run/systemd/system").is_dir() else ["--cgroup-manager=cgroupfs"]
    if Path("/sys/fs/cgroup/memory").is_dir() and shutil.which("runc") is not None:
        options += ["--runtime", "runc"]
    return options
