"""Container images of a runtime: its interpreter, its packages and the system libraries that they need."""

import fcntl
import hashlib
import io
import logging
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from predictd.domain.errors import PlatformError
from predictd.domain.runs import RuntimePaths
from predictd.sandbox.command import ISOLATED_PYTHON, environment_files, etc_files, sandbox_folders, sandbox_python
from predictd.sandbox.container_engine import Engine

log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 900.0
# Increment when images hold other files beside the runtime, so that older images are not reused.
_FORMAT = 3
_MAX_LIBRARIES = 4000
_PROGRAMS = ("sh", "bash", "cat", "chmod", "cp", "env", "id", "ls", "sleep", "touch", "true", "uname")
# Loaded by name at run time, so ldd does not list them.
_LOADED_LATER = ("libgcc_s.so.1", "libnss_files.so.2", "libgomp.so.1")
# Parts of an interpreter's prefix that no model uses.
_EXCLUDED = ("test", "idlelib", "__pycache__", "site-packages", "turtledemo", "ensurepip")
_lock = threading.Lock()


def ensure_image(engine: Engine, runtime: RuntimePaths) -> str:
    """Return the name of the runtime's image; build it if it does not exist (some 10 s for each GB of packages).

    Raises:
        PlatformError: The engine can't import the image.
    """
    name = f"localhost/predictd-runtime:{_tag(runtime)}"
    with _lock, _build_lock():
        if engine.call("images", "--quiet", name).strip():
            return name
        log.warning("building the image %s from %s", name, runtime.packages)
        _import(engine, runtime, name)
    return name


@contextmanager
def _build_lock() -> Iterator[None]:
    """Exclude other processes of this user: engines fail when the same image is imported twice at once."""
    # Not in the temporary folder of this server, because other servers have another one.
    path = os.path.join(os.environ.get("TMPDIR") or "/tmp", f"predictd-images-{os.geteuid()}.lock")  # noqa: S108
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _tag(runtime: RuntimePaths) -> str:
    """Return a tag for a runtime; built runtimes never change, so path and time identify them."""
    status = runtime.packages.stat()
    parts = (
        _FORMAT,
        runtime.version,
        runtime.python,
        runtime.prefix,
        runtime.packages,
        status.st_mtime_ns,
        status.st_ino,
    )
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]


def _import(engine: Engine, runtime: RuntimePaths, name: str) -> None:
    process = subprocess.Popen(
        [*engine.command, "import", "-", name], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stderr is not None
    try:
        with process.stdin, tarfile.open(fileobj=process.stdin, mode="w|", dereference=False) as tar:
            _add_files(tar, runtime)
    except BrokenPipeError:
        pass  # the engine's own error message explains it
    lines = process.stderr.read().decode("utf-8", "replace").strip().splitlines()
    if process.wait(_TIMEOUT_SECONDS) != 0:
        raise PlatformError(
            f"{engine.name} could not import the image of a runtime: {lines[-1] if lines else 'no reason'}."
        )


def _add_files(tar: tarfile.TarFile, runtime: RuntimePaths) -> None:
    inside = sandbox_folders(runtime)
    for folder in ("tmp", "proc", "dev", "sys", "etc", "usr/bin", "usr/lib", "opt/runtime/bin", "opt/predictd"):
        _add_folder(tar, folder)
    for path, text in (etc_files() | environment_files(runtime)).items():
        _add_text(tar, path, text)
    for link, target in (("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("sbin", "usr/bin")):
        _add_link(tar, link, target)
    _add_link(tar, ISOLATED_PYTHON, sandbox_python(runtime))
    tar.add(_interpreter_library(runtime), f"{inside.prefix}/lib/python{runtime.version}", filter=_exclude)
    for library in runtime.prefix.glob("lib/libpython3*.so*"):
        tar.add(library, f"{inside.prefix}/lib/{library.name}")
    tar.add(runtime.python, sandbox_python(runtime))
    tar.add(runtime.packages, inside.packages)
    programs = [Path("/usr/bin", name) for name in _PROGRAMS if Path("/usr/bin", name).exists()]
    for program in programs:
        tar.add(program.resolve(), f"usr/bin/{program.name}")
    objects = [runtime.python, *programs, *_shared_objects(_interpreter_library(runtime), runtime.packages)]
    for path in sorted(_libraries(objects)):
        # Where the loader looks for it; /lib and /lib64 are links into /usr.
        target = path if path.startswith("/usr/") else f"/usr{path}"
        tar.add(os.path.realpath(path), target)
    zones = Path("/usr/share/zoneinfo")
    if zones.is_dir():
        tar.add(zones, "usr/share/zoneinfo")


def _interpreter_library(runtime: RuntimePaths) -> Path:
    return runtime.prefix / "lib" / f"python{runtime.version}"


def _shared_objects(*folders: Path) -> Iterable[Path]:
    for folder in folders:
        yield from (path for path in folder.rglob("*.so*") if path.is_file())


def _libraries(objects: Iterable[Path]) -> set[str]:
    """Return the paths of the system libraries that the loader finds for these files, and of the loader itself."""
    libraries: set[str] = set()
    files = list(objects)[:_MAX_LIBRARIES]
    for start in range(0, len(files), 200):
        listing = subprocess.run(
            ["ldd", *map(str, files[start : start + 200])],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
        for line in listing.stdout.splitlines():
            parts = line.split()
            path = parts[2] if len(parts) > 2 and parts[1] == "=>" else parts[0] if parts else ""
            if path.startswith(("/lib", "/usr/lib")) and os.path.isfile(path):
                libraries.add(path)
    folders = {os.path.dirname(path) for path in libraries}
    return libraries | {
        f"{folder}/{name}" for folder in folders for name in _LOADED_LATER if os.path.isfile(f"{folder}/{name}")
    }


def _exclude(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = member.name.split("/")
    # Packages named `test` in deeper folders do not belong to the interpreter.
    return None if any(part in _EXCLUDED for part in parts[-2:]) else member


def _add_folder(tar: tarfile.TarFile, path: str) -> None:
    member = tarfile.TarInfo(path)
    member.type, member.mode = tarfile.DIRTYPE, 0o1777 if path == "tmp" else 0o755
    tar.addfile(member)


def _add_text(tar: tarfile.TarFile, path: str, text: str) -> None:
    member = tarfile.TarInfo(path.lstrip("/"))
    member.size, member.mode = len(text.encode()), 0o644
    tar.addfile(member, io.BytesIO(text.encode()))


def _add_link(tar: tarfile.TarFile, path: str, target: str) -> None:
    member = tarfile.TarInfo(path.lstrip("/"))
    member.type, member.linkname = tarfile.SYMTYPE, target
    tar.addfile(member)
