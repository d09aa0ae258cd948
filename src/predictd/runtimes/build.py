"""Build a runtime into its content-addressed folder, and load built runtimes."""

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from predictd.domain.errors import SetupError
from predictd.domain.runs import RuntimePaths
from predictd.runtimes.build_steps import run_step
from predictd.runtimes.file_pool import share, sweep
from predictd.runtimes.folder_lock import FolderLock
from predictd.runtimes.interpreters import Interpreter, require_interpreter
from predictd.runtimes.specs import RuntimeSpec
from predictd.runtimes.uv import uv_executable

MARKER = "predictd-runtime.json"
LOCK = "requirements.lock"

_LARGE_DOWNLOAD = re.compile(r"Downloading \S+ \((\d{2,}\.\d+MiB|[\d.]+GiB)\)")

# Packages that no model imports would take half of the compile time.
_NOT_COMPILED = r"/(tests|plotly|fontTools)/"


@dataclass(frozen=True, kw_only=True)
class BuiltRuntime:
    """A runtime that is built on this machine.

    Attributes:
        image_name: name on the wire, for example 'numerai_predict_py_3_12'.
        display_name: name shown to people, for example 'Python 3.12'.
        tag: 12 hex digits of the content hash; equal tags are equal packages.
        folder: its virtual environment, read-only.
        paths: its paths for the sandbox.
    """

    image_name: str
    display_name: str
    tag: str
    folder: Path
    paths: RuntimePaths

    @property
    def lock(self) -> Path:
        """The lock that it was built from; building it elsewhere creates the same runtime."""
        return self.folder / LOCK

    @property
    def executable(self) -> Path:
        """The environment's bin/python, which imports the runtime's packages."""
        return self.folder / "bin" / "python"


def build(spec: RuntimeSpec, home: Path, progress: Callable[[str], None]) -> BuiltRuntime:
    """Build a runtime into `home/<image>-<tag>`, or return it if it is already built.

    A built runtime is never rebuilt, so a second call takes milliseconds. Concurrent builders share one build; a later
    call removes the leftovers of a killed builder. Takes about 20 s with a warm uv cache.

    Args:
        spec: the runtime to build.
        home: the folder of all runtimes, created if missing.
        progress: called with a line for each step; not called if there is nothing to do.

    Raises:
        SetupError: the interpreter or a package is unavailable, or cannot be imported on this machine.
    """
    home = home.absolute()
    built = _read(home / spec.folder_name)
    if built is not None:
        return built
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FolderLock(home, spec.folder_name) as lock:
            # Another builder may have finished while this builder waited for the lock.
            return _read(home / spec.folder_name) or _build_locked(spec, home, progress, lock)
    except OSError as error:
        raise SetupError(
            f"The runtime {spec.display_name} can't be built in {home}: {error}. "
            "Free or change that folder (PREDICTD_RUNTIMES_DIR); a runtime takes 1.5 GB, a full one 8 GB."
        ) from error


def load(home: Path) -> list[BuiltRuntime]:
    """Return the built runtimes in `home` whose interpreter still exists, oldest Python first."""
    runtimes = (_read(marker.parent) for marker in home.absolute().glob(f"[!.]*/{MARKER}"))
    return sorted(
        (runtime for runtime in runtimes if runtime is not None),
        key=lambda runtime: ([int(part) for part in runtime.paths.version.split(".")], runtime.image_name, runtime.tag),
    )


def remove(runtime: BuiltRuntime) -> None:
    """Remove a built runtime, and the files in the shared pool that no other runtime uses."""
    home = runtime.folder.parent
    with FolderLock(home, runtime.folder.name) as lock:
        # Renamed first, so that nobody loads a partly removed runtime.
        shutil.rmtree(lock.draft, ignore_errors=True)
        os.rename(runtime.folder, lock.draft)
        shutil.rmtree(lock.draft)
        sweep(home)


def _build_locked(spec: RuntimeSpec, home: Path, progress: Callable[[str], None], lock: FolderLock) -> BuiltRuntime:
    """Build into a hidden folder, check the imports, and only then rename it."""
    started = time.monotonic()
    lock.remove_abandoned()
    sweep(home)
    interpreter = require_interpreter(spec.python, progress)
    draft, final = lock.draft, home / spec.folder_name
    try:
        builder = _Builder(spec=spec, draft=draft, lock=lock, progress=progress)
        progress(f"{spec.display_name}: installing {_count(spec.lock)} packages")
        builder.create(interpreter)
        builder.install()
        progress(f"{spec.display_name}: compiling and importing the packages")
        builder.compile()
        builder.check_imports()
        shared = share(builder.packages(), home)
        _write_marker(spec, draft, interpreter, builder.packages())
        shutil.rmtree(final, ignore_errors=True)
        os.rename(draft, final)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    built = _read(final)
    if built is None:
        raise SetupError(f"The runtime {spec.display_name} disappeared from {final} during the build. Build it again.")
    progress(
        f"{spec.display_name}: ready after {time.monotonic() - started:.0f} s; {shared.total / 1e9:.2f} GB, of which "
        f"{shared.existing / 1e9:.2f} GB are shared with existing runtimes"
    )
    return built


@dataclass(frozen=True, kw_only=True)
class _Builder:
    """The steps of one build in its draft folder."""

    spec: RuntimeSpec
    draft: Path
    lock: FolderLock
    progress: Callable[[str], None]

    @property
    def python(self) -> str:
        return str(self.draft / "bin" / "python")

    def create(self, interpreter: Interpreter) -> None:
        # Relocatable, because the first line of scripts would otherwise contain the draft's path.
        options = ["--relocatable", "--no-project", "--python", str(interpreter.executable)]
        self._run("creating the environment", [uv_executable(), "venv", *options, str(self.draft)])

    def install(self) -> None:
        lock = self.draft / LOCK
        lock.write_text(self.spec.lock, encoding="utf-8")
        # Only wheels: building a source distribution would run its code on this machine. Any index works,
        # because hashes verify the files.
        options = ["--require-hashes", "--only-binary", ":all:", "--index-strategy", "unsafe-best-match"]
        command = [uv_executable(), "pip", "sync", *options, "--python", self.python, str(lock)]
        self._run("installing the packages", command, on_line=self._report_download)

    def compile(self) -> None:
        # Invalidation by hash, unchecked, because shared files do not keep their modification time. Without the draft's
        # path, so that equal files compile to equal byte code. The exit code is ignored, because some packages contain
        # files that do not compile.
        options = ["-q", "-j", "0", "-x", _NOT_COMPILED, "--invalidation-mode", "unchecked-hash"]
        options += ["-s", str(self.packages())]
        command = [self.python, "-I", "-m", "compileall", *options, str(self.packages())]
        self._run("compiling", command, check=False)

    def check_imports(self) -> None:
        code = (
            "import importlib, sys\n"
            "for name in sys.argv[1:]:\n"
            "    try: importlib.import_module(name)\n"
            "    except Exception as error: sys.exit(f'error: {name}: {error}')\n"
        )
        self._run("importing the packages", [self.python, "-I", "-B", "-c", code, *self.spec.imports])

    def packages(self) -> Path:
        return self.draft / "lib" / f"python{self.spec.python}" / "site-packages"

    def _report_download(self, line: str) -> None:
        if _LARGE_DOWNLOAD.match(line):
            self.progress(f"{self.spec.display_name}: {line.lower()}")

    def _run(self, step: str, command: Sequence[str], **options: Any) -> None:
        # The step holds the lock if this process is killed, so that nobody else builds at the same time.
        inherit = (self.lock.descriptor,)
        run_step(self.spec.display_name, step, command, folder=self.draft.parent, inherit=inherit, **options)


def _count(lock: str) -> int:
    return sum("==" in line for line in lock.splitlines() if not line.startswith(("#", " ")))


def _write_marker(spec: RuntimeSpec, draft: Path, interpreter: Interpreter, packages: Path) -> None:
    """Write the marker last: a folder with a marker is complete. `packages` is relative, so that the home can move."""
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
    """Return the runtime in a folder, or None if it is absent, incomplete or without its interpreter."""
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
    is_usable = paths.python.is_file() and paths.packages.is_dir() and runtime.executable.exists()
    return runtime if is_usable else None
