"""Building a runtime into its content-addressed folder, and finding those that are built."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from predictd.domain.errors import SetupError
from predictd.domain.runs import RuntimePaths
from predictd.runtimes.interpreters import Interpreter, fetch, find_interpreters, inspect_interpreter
from predictd.runtimes.locking import FolderLock
from predictd.runtimes.specs import RuntimeSpec
from predictd.runtimes.uv import uv_environment, uv_executable

MARKER = "predictd-runtime.json"
STEP_SECONDS = 1800

# Byte code of what no model imports would be half of the compile time.
_NOT_COMPILED = r"/(tests|plotly|fontTools)/"


@dataclass(frozen=True, kw_only=True)
class BuiltRuntime:
    """A runtime that is ready on this machine.

    Attributes:
        image_name: name on the wire, for example 'numerai_predict_py_3_12'.
        display_name: name shown to people, for example 'Python 3.12'.
        tag: 12 hex digits of the content hash; equal tags are equal packages.
        folder: its virtual environment, read-only to everyone from now on.
        paths: what the sandbox needs of it.
    """

    image_name: str
    display_name: str
    tag: str
    folder: Path
    paths: RuntimePaths

    @property
    def executable(self) -> Path:
        """The environment's bin/python, which imports the runtime's packages."""
        return self.folder / "bin" / "python"


def build(spec: RuntimeSpec, home: Path, progress: Callable[[str], None]) -> BuiltRuntime:
    """Build a runtime into `home/<image>-<tag>`, or find it there.

    What is built is never built again, so that a second call takes milliseconds. Two builders at once share one
    build; one that is killed leaves nothing that a later call does not remove. Some 20 s with a warm cache of uv.

    Args:
        spec: what to build.
        home: folder of all runtimes, made when missing.
        progress: is told in a line what goes on; not called when there is nothing to do.

    Raises:
        SetupError: no interpreter, no packages, or packages that this machine can't import; says which and the remedy.
    """
    home = home.absolute()
    built = _read(home / spec.folder_name)
    if built is not None:
        return built
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FolderLock(home, spec.folder_name) as lock:
            # Another builder may have finished while this one waited for the lock.
            return _read(home / spec.folder_name) or _build_locked(spec, home, progress, lock)
    except OSError as error:
        raise SetupError(
            f"The runtime {spec.display_name} can't be built in {home}: {error}. "
            "Free or change that folder (PREDICTD_RUNTIMES_DIR); a runtime takes about 1.5 GB."
        ) from error


def load(home: Path) -> list[BuiltRuntime]:
    """The runtimes that are built in `home` and whose interpreter still exists, oldest Python first."""
    found = (_read(marker.parent) for marker in home.absolute().glob(f"[!.]*/{MARKER}"))
    return sorted(
        (runtime for runtime in found if runtime is not None),
        key=lambda runtime: ([int(part) for part in runtime.paths.version.split(".")], runtime.image_name, runtime.tag),
    )


def _build_locked(spec: RuntimeSpec, home: Path, progress: Callable[[str], None], lock: FolderLock) -> BuiltRuntime:
    """Build into a hidden folder, prove it, and only then give it its name."""
    started = time.monotonic()
    lock.remove_abandoned()
    interpreter = _interpreter(spec, progress)
    draft, final = lock.draft, home / spec.folder_name
    try:
        builder = _Builder(spec=spec, draft=draft, lock=lock)
        progress(f"{spec.display_name}: installing {_count(spec.lock)} packages")
        builder.create(interpreter)
        builder.install()
        progress(f"{spec.display_name}: compiling and trying the packages")
        builder.compile()
        builder.check_imports()
        _write_marker(spec, draft, interpreter, builder.packages())
        shutil.rmtree(final, ignore_errors=True)
        os.rename(draft, final)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    built = _read(final)
    if built is None:
        raise SetupError(f"The runtime {spec.display_name} vanished from {final} while it was built. Build it again.")
    progress(f"{spec.display_name}: ready after {time.monotonic() - started:.0f} s")
    return built


@dataclass(frozen=True, kw_only=True)
class _Builder:
    """The steps of one build in its draft folder."""

    spec: RuntimeSpec
    draft: Path
    lock: FolderLock

    @property
    def python(self) -> str:
        return str(self.draft / "bin" / "python")

    def create(self, interpreter: Interpreter) -> None:
        # Relocatable, because scripts would otherwise hold the draft's name in their first line.
        options = ["--relocatable", "--no-project", "--python", str(interpreter.executable)]
        self._run("creating the environment", [uv_executable(), "venv", *options, str(self.draft)])

    def install(self) -> None:
        lock = self.draft / "requirements.lock"
        lock.write_text(self.spec.lock, encoding="utf-8")
        # Only wheels: a source distribution would run code of its own on this machine while it builds.
        options = ["--require-hashes", "--only-binary", ":all:", "--python", self.python]
        self._run("installing the packages", [uv_executable(), "pip", "sync", *options, str(lock)])

    def compile(self) -> None:
        # By hash and unchecked: the folder never changes, and stays valid when a copy of it loses its times. Some
        # packages ship files that no Python compiles, so that the exit code says nothing.
        options = ["-q", "-j", "0", "-x", _NOT_COMPILED, "--invalidation-mode", "unchecked-hash"]
        self._run("compiling", [self.python, "-I", "-m", "compileall", *options, str(self.packages())], check=False)

    def check_imports(self) -> None:
        code = (
            "import importlib, sys\n"
            "for name in sys.argv[1:]:\n"
            "    try: importlib.import_module(name)\n"
            "    except Exception as error: sys.exit(f'{name}: {error}')\n"
        )
        self._run("importing the packages", [self.python, "-I", "-c", code, *self.spec.imports])

    def packages(self) -> Path:
        return self.draft / "lib" / f"python{self.spec.python}" / "site-packages"

    def _run(self, step: str, command: Sequence[str], *, check: bool = True) -> None:
        """Run one step, readable to every user; its last words become the SetupError's."""
        try:
            done = subprocess.run(
                command,
                env=uv_environment(),
                cwd=self.draft.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=STEP_SECONDS,
                umask=0o022,
                check=False,
                # The step keeps the lock when this process is killed, so that nobody builds beside it.
                pass_fds=(self.lock.descriptor,),
            )
        except subprocess.TimeoutExpired as error:
            raise SetupError(
                f"The runtime {self.spec.display_name} failed at {step}: not done after {STEP_SECONDS // 60} minutes. "
                "Check the connection to the package index and build it again."
            ) from error
        if check and done.returncode != 0:
            last = " / ".join(line.strip() for line in done.stdout.strip().splitlines()[-6:])
            raise SetupError(
                f"The runtime {self.spec.display_name} failed at {step}: {last or f'exit code {done.returncode}'}. "
                f"{_remedy(done.stdout)}"
            )


def _remedy(output: str) -> str:
    """What to do about the last words of a failed step."""
    if "libgomp" in output:
        return "Install OpenMP's library (apt-get install libgomp1) and build it again."
    if "No space left" in output:
        return "Free disk space (a runtime takes about 1.5 GB) and build it again."
    if "hash" in output.lower() and "mismatch" in output.lower():
        return "The package index serves other files than the lock names: use another index (UV_DEFAULT_INDEX)."
    return (
        "Check that the package index is reachable (UV_DEFAULT_INDEX, HTTPS_PROXY, SSL_CERT_FILE) and build it again; "
        "what was downloaded is kept."
    )


def _interpreter(spec: RuntimeSpec, progress: Callable[[str], None]) -> Interpreter:
    executable = find_interpreters().get(spec.python)
    if executable is None:
        progress(f"{spec.display_name}: downloading the interpreter")
        executable = fetch(spec.python)
    interpreter = inspect_interpreter(executable) if executable else None
    if interpreter is None:
        raise SetupError(
            f"Python {spec.python} is not on this machine and could not be downloaded. Install it (apt-get install "
            f"python{spec.python}, or pyenv install {spec.python}), or choose a runtime of a Python that is here: "
            f"{', '.join(find_interpreters()) or 'none'}."
        )
    return interpreter


def _count(lock: str) -> int:
    return sum("==" in line for line in lock.splitlines() if not line.startswith(("#", " ")))


def _write_marker(spec: RuntimeSpec, draft: Path, interpreter: Interpreter, packages: Path) -> None:
    """Written last: a folder with a marker is complete. `packages` is relative, so that the home can be moved."""
    facts = {
        "image_name": spec.image_name,
        "display_name": spec.display_name,
        "tag": spec.tag,
        "lock_hash": spec.lock_hash,
        "version": spec.python,
        "release": ".".join(map(str, interpreter.release)),
        "python": str(interpreter.executable),
        "prefix": str(interpreter.prefix),
        "packages": str(packages.relative_to(draft)),
    }
    with open(draft / MARKER, "w", encoding="utf-8") as file:
        json.dump(facts, file, indent=2)
        file.flush()
        os.fsync(file.fileno())


def _read(folder: Path) -> BuiltRuntime | None:
    """The runtime in a folder, None when it's absent, incomplete or its interpreter is gone."""
    try:
        facts = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        paths = RuntimePaths(
            version=facts["version"],
            python=Path(facts["python"]),
            prefix=Path(facts["prefix"]),
            packages=folder / facts["packages"],
        )
        runtime = BuiltRuntime(
            image_name=facts["image_name"],
            display_name=facts["display_name"],
            tag=facts["tag"],
            folder=folder,
            paths=paths,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    usable = paths.python.is_file() and paths.packages.is_dir() and runtime.executable.exists()
    return runtime if usable else None
