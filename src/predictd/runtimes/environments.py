"""A person's own virtual environment that has what a runtime has, and what another one has otherwise."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from predictd.domain.errors import ConflictError, InvalidInputError, SetupError
from predictd.runtimes.interpreters import require_interpreter
from predictd.runtimes.requirements import normalized, pins
from predictd.runtimes.specs import RuntimeSpec
from predictd.runtimes.steps import run_step
from predictd.runtimes.uv import uv_executable

PROBE_SECONDS = 30

_KERNEL = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)
_LARGE_DOWNLOAD = re.compile(r"Downloading \S+ \((\d{2,}\.\d+MiB|[\d.]+GiB)\)")
_LOCK = "requirements.lock"

# What lies in the folder in which it is run is no package; what PYTHONPATH or the user's own packages bring is.
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
    """What an environment has.

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
    """What an environment has otherwise than a runtime.

    Attributes:
        package: its normalized name, or 'python'.
        wanted: the version that the runtime has.
        here: the version that the environment has; None if it is missing.
    """

    package: str
    wanted: str
    here: str | None


def create_environment(
    spec: RuntimeSpec, folder: Path, progress: Callable[[str], None], *, kernel: str | None = None
) -> Environment:
    """Make a virtual environment that has exactly what the runtime has, or find that it is there.

    Takes some seconds with a warm cache of uv. The lock lies in it as requirements.lock. With a kernel's name,
    ipykernel is added without changing a package of the lock, and a Jupyter kernel is registered for the user.

    Args:
        spec: the runtime.
        folder: where it is made; it must not exist, be empty, or be such an environment already.
        progress: is told in a line what goes on.
        kernel: name of a Jupyter kernel: letters, digits, '.', '_' and '-'.

    Raises:
        ConflictError: something else is in the folder.
        InvalidInputError: a kernel can't have that name.
        SetupError: there is no interpreter, or a package can't be had; says which and the remedy.
    """
    if kernel is not None and not _KERNEL.fullmatch(kernel):
        raise InvalidInputError(f"A kernel can't be called {kernel!r}; use letters, digits, '.', '_' and '-' only.")
    folder = folder.absolute()
    python = folder / "bin" / "python"
    if not _is_there(spec, folder, python):
        _make(spec, folder, python, progress)
    if kernel is not None:
        _add_kernel(spec, folder, python, kernel, progress)
    return inspect_environment(python)


def inspect_environment(python: Path) -> Environment:
    """What the environment of an interpreter has. Raises SetupError if that can't be run."""
    try:
        command = [str(python), "-c", _PROBE]
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=True, stdin=subprocess.DEVNULL
        )
        release, packages = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise SetupError(f"{python} can't be run as a Python 3; give --python the interpreter of another.") from error
    return Environment(
        python=python, release=release, packages={normalized(name): found for name, found in packages.items()}
    )


def differences(environment: Environment, spec: RuntimeSpec) -> list[Difference]:
    """What the environment has otherwise than the runtime: Python first, then packages in the order of the lock.

    Packages that the runtime does not have are no difference, nor are those that its lock has for some machines only
    and that are not installed.
    """
    found = []
    if environment.release.rpartition(".")[0] != spec.python:
        found.append(Difference(package="python", wanted=spec.python, here=environment.release))
    wanted: dict[str, list[str]] = {}
    for pin in pins(spec.lock):
        here = environment.packages.get(pin.name)
        if here is not None or not pin.is_conditional:
            wanted.setdefault(pin.name, []).append(pin.version)
    for name, versions in wanted.items():
        here = environment.packages.get(name)
        if here is None or not any(_equal(here, version) for version in versions):
            found.append(Difference(package=name, wanted=versions[0], here=here))
    return found


def _equal(here: str, wanted: str) -> bool:
    """A build's own label, as in '2.9.1+cpu', makes no other version."""
    return here == wanted or here.partition("+")[0] == wanted


def _is_there(spec: RuntimeSpec, folder: Path, python: Path) -> bool:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not (folder / "pyvenv.cfg").is_file():
        raise ConflictError(f"{folder} holds something else; give another folder.")
    found = inspect_environment(python)
    count = len(differences(found, spec))
    if count:
        raise ConflictError(
            f"{folder} is an environment of Python {found.release}, in which {count} "
            f"{'thing differs' if count == 1 else 'things differ'} from {spec.display_name}; remove it, give another "
            f"folder, or see what differs: predictd env check --python {python}"
        )
    return True


def _make(spec: RuntimeSpec, folder: Path, python: Path, progress: Callable[[str], None]) -> None:
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
    shown = f"{spec.display_name} as on the server ({kernel})"
    options = ["--user", "--name", kernel, "--display-name", shown]
    run_step(
        spec.display_name,
        "registering the Jupyter kernel",
        [str(python), "-m", "ipykernel", "install", *options],
        folder=folder,
    )


def _add(spec: RuntimeSpec, folder: Path, python: Path, package: str, progress: Callable[[str], None]) -> None:
    """Install a package on top, so that those of the lock stay as they are."""
    options = ["--only-binary", ":all:", "--constraint", str(folder / _LOCK), "--python", str(python)]
    _run(spec, f"adding {package}", ["pip", "install", *options, package], folder, progress)


def _run(spec: RuntimeSpec, step: str, arguments: Sequence[str], folder: Path, progress: Callable[[str], None]) -> None:
    def tell(line: str) -> None:
        if _LARGE_DOWNLOAD.match(line):
            progress(f"{spec.display_name}: {line.lower()}")

    folder.parent.mkdir(parents=True, exist_ok=True)
    run_step(spec.display_name, step, [uv_executable(), *arguments], folder=folder.parent, on_line=tell)
