"""Find the Python interpreters of this machine, each verified by running it."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from predictd.domain.errors import SetupError
from predictd.runtimes.uv import uv_environment, uv_executable

PROBE_SECONDS = 10
FETCH_SECONDS = 300

_NAME = re.compile(r"python3\.(1\d)")

# Wheels need CPython with its standard ABI, and ctypes and zlib, which are missing if Python was built without headers.
_PROBE = """
import ctypes, json, os, sys, sysconfig, zlib
assert sys.implementation.name == "cpython" and sys.version_info.releaselevel == "final"
assert not sysconfig.get_config_var("Py_GIL_DISABLED")
print(json.dumps([list(sys.version_info[:3]), getattr(sys, "_base_executable", "") or sys.executable, sys.base_prefix]))
"""


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A base interpreter (never in a virtual environment) that runs on this machine.

    Attributes:
        release: for example (3, 12, 1).
        executable: the real file, links resolved.
        prefix: its sys.base_prefix.
    """

    release: tuple[int, int, int]
    executable: Path
    prefix: Path

    @property
    def version(self) -> str:
        """The version as 'major.minor', for example '3.12'."""
        return f"{self.release[0]}.{self.release[1]}"


def inspect_interpreter(candidate: Path) -> Interpreter | None:
    """Return the base interpreter behind an executable, or None if it is not a suitable CPython."""
    command = [str(candidate), "-I", "-S", "-c", _PROBE]
    try:
        probe = subprocess.run(
            command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=True, stdin=subprocess.DEVNULL
        )
        release, executable, prefix = json.loads(probe.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    real = Path(executable).resolve()
    if not real.is_file():
        return None
    return Interpreter(release=(release[0], release[1], release[2]), executable=real, prefix=Path(prefix).resolve())


def find_interpreters() -> dict[str, Path]:
    """Return base interpreters by 'major.minor', oldest version first.

    For each minor version, the newest patch wins, then the location searched first: the running Python, PATH, pyenv,
    uv, /usr/local/bin, /usr/bin. Takes about 20 ms per candidate.
    """
    best: dict[str, Interpreter] = {}
    tried: set[Path] = set()
    for candidate in _candidates():
        real = candidate.resolve()
        if real in tried:
            continue
        interpreter = inspect_interpreter(candidate)
        tried.add(real)
        if interpreter is None:
            continue
        tried.add(interpreter.executable)
        if interpreter.version not in best or interpreter.release > best[interpreter.version].release:
            best[interpreter.version] = interpreter
    return {version: best[version].executable for version in sorted(best, key=lambda text: best[text].release)}


def fetch(version: str) -> Path | None:
    """Download an interpreter for 'major.minor' with `uv python install`; return None if that fails.

    Waits for up to five minutes. Respects UV_PYTHON_DOWNLOADS=never.
    """
    command = [uv_executable(), "python", "install", "--no-bin", "--no-config", version]
    environment = uv_environment()
    environment["UV_PYTHON_DOWNLOADS"] = os.environ.get("UV_PYTHON_DOWNLOADS", "manual")
    try:
        subprocess.run(
            command, env=environment, capture_output=True, timeout=FETCH_SECONDS, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return find_interpreters().get(version)


def require_interpreter(version: str, progress: Callable[[str], None]) -> Interpreter:
    """Return the interpreter of 'major.minor', downloaded if this machine has none.

    Raises:
        SetupError: the interpreter is missing and could not be downloaded.
    """
    executable = find_interpreters().get(version)
    if executable is None:
        progress(f"Python {version}: downloading the interpreter")
        executable = fetch(version)
    interpreter = inspect_interpreter(executable) if executable else None
    if interpreter is None:
        raise SetupError(
            f"Python {version} is not on this machine and could not be downloaded. Install it (apt-get install "
            f"python{version}, or pyenv install {version}), or choose a runtime with an installed Python: "
            f"{', '.join(find_interpreters()) or 'none'}."
        )
    return interpreter


def _candidates() -> Iterator[Path]:
    """Yield executables that may be a Python 3, in order of preference."""
    yield Path(getattr(sys, "_base_executable", "") or sys.executable)
    pyenv = _home("PYENV_ROOT", ".pyenv")
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    # Shims only select a version, slowly, and fail for inactive versions.
    folders = [folder for folder in folders if folder != pyenv / "shims"]
    folders += sorted((pyenv / "versions").glob("*/bin"))
    folders += sorted(_uv_folder().glob("*/bin"))
    folders += [Path("/usr/local/bin"), Path("/usr/bin")]
    for folder in folders:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        yield from (folder / name for name in names if _NAME.fullmatch(name))
    plain = shutil.which("python3")
    if plain:
        yield Path(plain)


def _home(variable: str, default: str) -> Path:
    """Return the folder in an environment variable, or a default folder in the user's home."""
    return Path(os.environ.get(variable) or Path(os.path.expanduser("~")) / default)


def _uv_folder() -> Path:
    """Return the folder where uv stores Pythons."""
    chosen = os.environ.get("UV_PYTHON_INSTALL_DIR")
    return Path(chosen) if chosen else _home("XDG_DATA_HOME", ".local/share") / "uv" / "python"
