"""Create a user's own virtual environment with the packages of a runtime, and compare environments with runtimes."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from predictd.domain.errors import ConflictError, InvalidInputError, SetupError
from predictd.runtimes.build_steps import run_step
from predictd.runtimes.interpreters import require_interpreter
from predictd.runtimes.requirements import normalized, pins
from predictd.runtimes.specs import RuntimeSpec
from predictd.runtimes.uv import uv_executable

PROBE_SECONDS = 30

_KERNEL = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)
_LARGE_DOWNLOAD = re.compile(r"Downloading \S+ \((\d{2,}\.\d+MiB|[\d.]+GiB)\)")
_LOCK = "requirements.lock"

# The current folder does not count as packages; PYTHONPATH and the user's site-packages do.
_PROBE = """
import sys
if sys.path[:1] == [""]: del sys.path[0]
import json
from importlib.metadata import distributions
found = {}
for one in distributions():
    name = one.metadata["Name"]
    if name and name not in found: found[name] = one.version
print(json.dumps([".".join(map(str, sys.version_info[:3])), found]))
"""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The contents of an environment.

    Attributes:
        python: its interpreter.
        release: of Python, for example '3.12.1'.
        packages: versions by normalized name.
    """

    python: Path
    release: str
    packages: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A difference between an environment and a runtime.

    Attributes:
        package: its normalized name, or 'python'.
        expected: the version in the runtime.
        installed: the version in the environment, or None if it is missing.
    """

    package: str
    expected: str
    installed: str | None


def create_environment(
    spec: RuntimeSpec, folder: Path, progress: Callable[[str], None], *, kernel: str | None = None
) -> Environment:
    """Create a virtual environment with exactly the packages of the runtime, or return it if it exists.

    Takes a few seconds with a warm uv cache. The environment contains its lock as requirements.lock. With a kernel
    name, ipykernel is added without changing a locked package, and a Jupyter kernel is registered for the user.

    Args:
        spec: the runtime.
        folder: its folder, which must be missing, empty, or already such an environment.
        progress: called with a line for each step.
        kernel: name of a Jupyter kernel: letters, digits, '.', '_' and '-'.

    Raises:
        ConflictError: the folder contains something else.
        InvalidInputError: the kernel name is invalid.
        SetupError: the interpreter or a package is unavailable.
    """
    if kernel is not None and not _KERNEL.fullmatch(kernel):
        raise InvalidInputError(f"The kernel name {kernel!r} is invalid. Use only letters, digits, '.', '_' and '-'.")
    folder = folder.absolute()
    python = folder / "bin" / "python"
    if not _is_created(spec, folder, python):
        _create(spec, folder, python, progress)
    if kernel is not None:
        _add_kernel(spec, folder, python, kernel, progress)
    return inspect_environment(python)


def inspect_environment(python: Path) -> Environment:
    """Return the contents of an interpreter's environment. Raises SetupError if it cannot be run."""
    try:
        command = [str(python), "-c", _PROBE]
        probe = subprocess.run(
            command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=True, stdin=subprocess.DEVNULL
        )
        release, packages = json.loads(probe.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise SetupError(f"{python} can't be run as Python 3. Pass another interpreter with --python.") from error
    return Environment(
        python=python, release=release, packages={normalized(name): version for name, version in packages.items()}
    )


def differences(environment: Environment, spec: RuntimeSpec) -> list[Difference]:
    """Return the differences between the environment and the runtime: Python first, then packages in lock order.

    Additional packages do not count as differences, and neither do missing packages that the lock requires only on some
    machines.
    """
    differing = []
    if environment.release.rpartition(".")[0] != spec.python:
        differing.append(Difference(package="python", expected=spec.python, installed=environment.release))
    locked_versions: dict[str, list[str]] = {}
    for pin in pins(spec.lock):
        installed = environment.packages.get(pin.name)
        if installed is not None or not pin.is_conditional:
            locked_versions.setdefault(pin.name, []).append(pin.version)
    for name, versions in locked_versions.items():
        installed = environment.packages.get(name)
        if installed is None or not any(_equal(installed, version) for version in versions):
            differing.append(Difference(package=name, expected=versions[0], installed=installed))
    return differing


def _equal(installed: str, expected: str) -> bool:
    """Return whether versions are equal; a local build label, as in '2.9.1+cpu', is ignored."""
    return installed == expected or installed.partition("+")[0] == expected


def _is_created(spec: RuntimeSpec, folder: Path, python: Path) -> bool:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not (folder / "pyvenv.cfg").is_file():
        raise ConflictError(f"{folder} is not empty and not an environment. Choose another folder.")
    environment = inspect_environment(python)
    count = len(differences(environment, spec))
    if count:
        raise ConflictError(
            f"{folder} is an environment of Python {environment.release} with {count} "
            f"{'difference' if count == 1 else 'differences'} from {spec.display_name}. Remove it, choose another "
            f"folder, or list the differences: predictd env check --python {python}"
        )
    return True


def _create(spec: RuntimeSpec, folder: Path, python: Path, progress: Callable[[str], None]) -> None:
    interpreter = require_interpreter(spec.python, progress)
    progress(f"{spec.display_name}: installing {len(pins(spec.lock))} packages into {folder}")
    try:
        options = ["--no-project", "--python", str(interpreter.executable)]
        _run(spec, "creating the environment", ["venv", *options, str(folder)], folder, progress)
        (folder / _LOCK).write_text(spec.lock, encoding="utf-8")
        options = ["--require-hashes", "--only-binary", ":all:", "--index-strategy", "unsafe-best-match"]
        sync = ["pip", "sync", *options, "--python", str(python), str(folder / _LOCK)]
        _run(spec, "installing the packages", sync, folder, progress)
        if "cloudpickle" not in {pin.name for pin in pins(spec.lock)}:
            _add(spec, folder, python, "cloudpickle", progress)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _add_kernel(spec: RuntimeSpec, folder: Path, python: Path, kernel: str, progress: Callable[[str], None]) -> None:
    _add(spec, folder, python, "ipykernel", progress)
    display_name = f"{spec.display_name} as on the server ({kernel})"
    options = ["--user", "--name", kernel, "--display-name", display_name]
    run_step(
        spec.display_name,
        "registering the Jupyter kernel",
        [str(python), "-m", "ipykernel", "install", *options],
        folder=folder,
    )


def _add(spec: RuntimeSpec, folder: Path, python: Path, package: str, progress: Callable[[str], None]) -> None:
    """Install an additional package without changing the locked packages."""
    options = ["--only-binary", ":all:", "--constraint", str(folder / _LOCK), "--python", str(python)]
    _run(spec, f"adding {package}", ["pip", "install", *options, package], folder, progress)


def _run(spec: RuntimeSpec, step: str, arguments: Sequence[str], folder: Path, progress: Callable[[str], None]) -> None:
    def report(line: str) -> None:
        if _LARGE_DOWNLOAD.match(line):
            progress(f"{spec.display_name}: {line.lower()}")

    folder.parent.mkdir(parents=True, exist_ok=True)
    run_step(spec.display_name, step, [uv_executable(), *arguments], folder=folder.parent, on_line=report)
