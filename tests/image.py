"""Builds what a Dockerfile says without a container engine: each step runs in a folder that stands for the image.

The base image is Debian as this machine has it, read-only, with the interpreter of the wanted version at /usr/local. It
has no network. Needs root, because the steps install, make users and change to them.
"""

import json
import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from dockerfile_parse import DockerfileParser

_OWN_FOLDERS = ("etc", "home", "opt", "root", "tmp", "var")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NEVER_COPIED = shutil.ignore_patterns("__pycache__")


@dataclass(kw_only=True)
class Image:
    """An image in the making, and then its container.

    Attributes:
        root: holds the folders of the image that are not this machine's.
        context: folder that COPY takes from.
        interpreter: prefix of the Python that the base image has.
        mounts: other folders, by their path inside; read-only if they begin with 'ro:'.
        environment: what every step gets beside the image's own.
    """

    root: Path
    context: Path
    interpreter: Path
    mounts: dict[str, str]
    environment: dict[str, str]
    user: str = "0"
    workdir: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    image_environment: dict[str, str] = field(default_factory=lambda: {"PATH": _PATH})

    def make_base(self) -> None:
        """What `FROM` brings."""
        for name in _OWN_FOLDERS:
            (self.root / name).mkdir(parents=True)
        (self.root / "tmp").chmod(0o1777)
        shutil.copytree("/etc", self.root / "etc", symlinks=True, dirs_exist_ok=True)
        for name in ("passwd", "group"):
            path = self.root / "etc" / name
            path.write_text(
                "".join(line for line in path.read_text().splitlines(keepends=True) if not _is_person(line))
            )
        for name in ("lib/dpkg", "lib/apt", "cache/ldconfig", "log"):
            (self.root / "var" / name).mkdir(parents=True)
        shutil.copytree("/var/lib/dpkg", self.root / "var/lib/dpkg", symlinks=True, dirs_exist_ok=True)
        shutil.copytree("/var/lib/apt", self.root / "var/lib/apt", symlinks=True, dirs_exist_ok=True)
        (self.root / "var/cache/apt/archives/partial").mkdir(parents=True)
        self._run("ldconfig")

    def build(self, dockerfile: Path) -> None:
        """Run the steps of the Dockerfile, in order."""
        with dockerfile.open("rb") as file:
            parser = DockerfileParser(fileobj=file, parent_env={"PATH": _PATH})
            for step in parser.structure:
                getattr(self, f"_do_{step['instruction'].lower()}")(step["value"])
            self.image_environment |= parser.envs

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """`docker run IMAGE ARGUMENTS`."""
        return self._run(shlex.join([*self.entrypoint, *arguments]), check=False)

    def _do_comment(self, _: str) -> None:
        pass

    def _do_from(self, _: str) -> None:
        self.make_base()

    def _do_run(self, value: str) -> None:
        self._run(value)

    def _do_copy(self, value: str) -> None:
        *sources, target = shlex.split(value)
        inside = self.root / target.lstrip("/")
        assert inside.relative_to(self.root).parts[0] in _OWN_FOLDERS
        for name in sources:
            source = self.context / name
            if source.is_dir():
                shutil.copytree(source, inside, ignore=_NEVER_COPIED, dirs_exist_ok=True)
            else:
                assert target.endswith("/"), "several files are copied into a folder"
                inside.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, inside)

    def _do_user(self, value: str) -> None:
        self.user = value

    def _do_workdir(self, value: str) -> None:
        self.workdir = value

    def _do_env(self, _: str) -> None:
        """Taken whole from the parser at the end: no step of ours depends on it."""

    def _do_entrypoint(self, value: str) -> None:
        self.entrypoint = json.loads(value)

    def _run(self, command: str, *, check: bool = True) -> "subprocess.CompletedProcess[str]":
        step = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", "/bin/sh", "-c", command]
        done = subprocess.run(
            ["bwrap", *self._sandbox(), "--chdir", self.workdir, "--", *step],
            env=self.image_environment | self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def _sandbox(self) -> list[str]:
        options = ["--unshare-net", "--unshare-pid", "--unshare-ipc", "--die-with-parent", "--cap-add", "ALL"]
        options += ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev"]
        if Path("/usr") not in (self.interpreter, *self.interpreter.parents):
            options += ["--ro-bind", str(self.interpreter), "/usr/local"]
        for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
            path = Path("/", name)
            if path.is_symlink():
                options += ["--symlink", os.readlink(path), str(path)]
            elif path.is_dir():
                options += ["--ro-bind", str(path), str(path)]
        for name in _OWN_FOLDERS:
            options += ["--bind", str(self.root / name), f"/{name}"]
        for target, source in self.mounts.items():
            options += ["--ro-bind" if source.startswith("ro:") else "--bind", source.removeprefix("ro:"), target]
        return options


def _is_person(line: str) -> bool:
    """Whether a line of passwd or group is that of a person, whom a base image has none of."""
    return 1000 <= int(line.split(":")[2]) < 60_000
