"""Images made from a runtime's folder: its interpreter, its packages, and the system's libraries that they need."""

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
from predictd.sandbox.command import ISOLATED_PYTHON, environment_files, etc_files, executable_inside, where_inside
from predictd.sandbox.container_engine import Engine

log = logging.getLogger(__name__)

_SECONDS = 900.0
# Changes with what an image holds beside the runtime, so that older images are not taken for it.
_FORMAT = 3
_MOST_LIBRARIES = 4000
_PROGRAMS = ("sh", "bash", "cat", "chmod", "cp", "env", "id", "ls", "sleep", "touch", "true", "uname")
# Loaded by name while a program runs, so that no file says that it needs them.
_LOADED_LATER = ("libgcc_s.so.1", "libnss_files.so.2", "libgomp.so.1")
# Parts of an interpreter's prefix that no model uses.
_LEFT_OUT = ("test", "idlelib", "__pycache__", "site-packages", "turtledemo", "ensurepip")
_lock = threading.Lock()


def image_of(engine: Engine, runtime: RuntimePaths) -> str:
    """The name of the runtime's image, made at the first call (some 10 s for each GB of packages).

    Raises:
        PlatformError: the engine can't import it.
    """
    name = f"localhost/predictd-runtime:{_tag(runtime)}"
    with _lock, _alone():
        if engine.call("images", "--quiet", name).strip():
            return name
        log.warning("making the image %s from %s", name, runtime.packages)
        _import(engine, runtime, name)
    return name


@contextmanager
def _alone() -> Iterator[None]:
    """One process of this user at a time: engines fail at importing the same image twice at once."""
    # Not in the folder for temporary files of this server, because others have other ones.
    path = os.path.join(os.environ.get("TMPDIR") or "/tmp", f"predictd-images-{os.geteuid()}.lock")  # noqa: S108
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _tag(runtime: RuntimePaths) -> str:
    """Built runtimes never change, so that a path and its time say which they are."""
    seen = runtime.packages.stat()
    parts = (_FORMAT, runtime.version, runtime.python, runtime.prefix, runtime.packages, seen.st_mtime_ns, seen.st_ino)
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]


def _import(engine: Engine, runtime: RuntimePaths, name: str) -> None:
    process = subprocess.Popen(
        [*engine.command, "import", "-", name], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stderr is not None
    try:
        with process.stdin, tarfile.open(fileobj=process.stdin, mode="w|", dereference=False) as tar:
            _fill(tar, runtime)
    except BrokenPipeError:
        pass  # its own words say more
    words = process.stderr.read().decode("utf-8", "replace").strip().splitlines()
    if process.wait(_SECONDS) != 0:
        raise PlatformError(
            f"{engine.name} could not import the image of a runtime: {words[-1] if words else 'no reason'}."
        )


def _fill(tar: tarfile.TarFile, runtime: RuntimePaths) -> None:
    at = where_inside(runtime)
    for folder in ("tmp", "proc", "dev", "sys", "etc", "usr/bin", "usr/lib", "opt/runtime/bin", "opt/predictd"):
        _add_folder(tar, folder)
    for path, text in (etc_files() | environment_files(runtime)).items():
        _add_text(tar, path, text)
    for link, target in (("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("sbin", "usr/bin")):
        _add_link(tar, link, target)
    _add_link(tar, ISOLATED_PYTHON, executable_inside(runtime))
    tar.add(_interpreter_library(runtime), f"{at.prefix}/lib/python{runtime.version}", filter=_wanted)
    for library in runtime.prefix.glob("lib/libpython3*.so*"):
        tar.add(library, f"{at.prefix}/lib/{library.name}")
    tar.add(runtime.python, executable_inside(runtime))
    tar.add(runtime.packages, at.packages)
    programs = [Path("/usr/bin", name) for name in _PROGRAMS if Path("/usr/bin", name).exists()]
    for program in programs:
        tar.add(program.resolve(), f"usr/bin/{program.name}")
    objects = [runtime.python, *programs, *_shared_objects(_interpreter_library(runtime), runtime.packages)]
    for path in sorted(_libraries(objects)):
        # Where the loader looks for it; merged into /usr, of which /lib and /lib64 are links.
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
    """Paths of the system's libraries that the loader finds for these files, and of the loader itself."""
    found: set[str] = set()
    files = list(objects)[:_MOST_LIBRARIES]
    for start in range(0, len(files), 200):
        asked = subprocess.run(
            ["ldd", *map(str, files[start : start + 200])],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        for line in asked.stdout.splitlines():
            words = line.split()
            path = words[2] if len(words) > 2 and words[1] == "=>" else words[0] if words else ""
            if path.startswith(("/lib", "/usr/lib")) and os.path.isfile(path):
                found.add(path)
    folders = {os.path.dirname(path) for path in found}
    return found | {
        f"{folder}/{name}" for folder in folders for name in _LOADED_LATER if os.path.isfile(f"{folder}/{name}")
    }


def _wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = member.name.split("/")
    # Packages called `test` elsewhere are none of the interpreter's own.
    return None if any(part in _LEFT_OUT for part in parts[-2:]) else member


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
