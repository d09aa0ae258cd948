"""How bubblewrap and the interpreter are called: what a run sees of the machine, and its environment."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from predictd.domain.limits import Limits
from predictd.domain.runs import RuntimePaths

ISOLATED_PYTHON = "/opt/runtime/bin/python"
RUNNER = Path(__file__).parent.parent / "runner"
TREES = Path(__file__).parent.parent / "trees"
INSIDE = "/opt/predictd"
HASH_SEED = 0
_RUNTIME = "/opt/runtime"
# Not zero: a shared mapping of it is memory that belongs to no process.
_DEVICES = ("null", "full", "random", "urandom")
_DEVICE_LINKS = {"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
_SYSTEM_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC = {
    "passwd": "predictd:x:1000:1000::/tmp:/bin/sh\n",
    "group": "predictd:x:1000:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "hosts": "127.0.0.1 localhost predictd\n",
}
_THREAD_COUNTS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
)


@dataclass(frozen=True, kw_only=True)
class Folders:
    """The folders that a run reads: on this machine, or where the launcher has staged them."""

    prefix: str
    packages: str
    runner: str
    trees: str


def environment(limits: Limits, home: str, *, seeded: bool) -> dict[str, str]:
    """All of the environment that a model gets; a `seeded` one has the same hashes of strings each time."""
    threads = str(threads_of(limits))
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": home,
        "TMPDIR": home,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLCONFIGDIR": home,
        "NUMBA_CACHE_DIR": home,
        # Arrow's allocator starts no thread of its own, which would keep a warm parent from being forked.
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
        # Its other allocator reserves a GiB of addresses, which counts where memory is limited by rlimits.
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        **dict.fromkeys(_THREAD_COUNTS, threads),
        **({"PYTHONHASHSEED": str(HASH_SEED)} if seeded else {}),
    }


def threads_of(limits: Limits) -> int:
    """How many threads libraries are told to use."""
    return max(1, math.ceil(limits.cpus))


def bubblewrap(
    executable: str,
    limits: Limits,
    *,
    status: int = -1,
    seccomp: int = -1,
    texts: Mapping[int, str] | None = None,
    parent: bool = False,
) -> list[str]:
    """The sandbox with nothing of a run in it yet: system libraries, an empty scratch, no devices, no network.

    Args:
        executable: path of bwrap.
        limits: sizes of the scratch.
        status: descriptor to which bubblewrap writes the pid of the first process inside.
        seccomp: descriptor of the compiled filter.
        texts: descriptor and path of each small file that is made inside.
        parent: make that of a warm parent, which gives its runs the rest: it keeps the capabilities of its own user
            namespace and has no filter.
    """
    shared = max(limits.scratch_bytes // 4, 1)
    command = [executable, "--unshare-all", "--unshare-user", "--new-session"]
    if parent:
        # Its server's end ends it: it is told by a socket, and the thread that starts it need not outlive it.
        command += ["--cap-add", "ALL"]
    else:
        command += ["--die-with-parent", "--cap-drop", "ALL", "--disable-userns", "--assert-userns-disabled"]
        command += ["--json-status-fd", str(status), "--seccomp", str(seccomp)]
    command += ["--uid", "1000", "--gid", "1000", "--hostname", "predictd", "--clearenv"]
    command += ["--ro-bind", "/usr", "/usr"]
    for name in _SYSTEM_FOLDERS:
        path = Path("/", name)
        if path.is_symlink():
            command += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            command += ["--ro-bind", str(path), str(path)]
    command += ["--proc", "/proc", *_devices(shared)]
    for path in (Path("/etc/ld.so.cache"), Path("/etc/localtime")):
        if path.exists():
            command += ["--ro-bind", str(path.resolve()), str(path)]
    for descriptor, inside in (texts or {}).items():
        command += ["--ro-bind-data", str(descriptor), inside]
    return [*command, "--size", str(limits.scratch_bytes), "--perms", "1777", "--tmpfs", "/tmp", "--chdir", "/tmp"]  # noqa: S108


def _devices(shared_bytes: int) -> list[str]:
    """A /dev without terminals, whose bytes the kernel would move outside of the run's group."""
    arguments = ["--tmpfs", "/dev"]
    for name in _DEVICES:
        arguments += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for name, target in _DEVICE_LINKS.items():
        arguments += ["--symlink", f"/proc/self/{target}", f"/dev/{name}"]
    return [*arguments, "--size", str(shared_bytes), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108


def etc_files() -> dict[str, str]:
    """The synthetic files of /etc, by path."""
    return {f"/etc/{name}": text for name, text in _ETC.items()}


def inside(
    runtime: RuntimePaths, folders: Folders, files: Mapping[str, str], limits: Limits, *, seeded: bool
) -> list[str]:
    """Binds and environment of one run, for after `bubblewrap`.

    Args:
        runtime: the interpreter, by its paths on this machine.
        folders: where bubblewrap finds the folders.
        files: path inside and path on this machine of the data files that are bound, if any.
        limits: for the environment.
        seeded: likewise.
    """
    at = where_inside(runtime)
    binds = [] if _is_system(runtime.prefix) else ["--ro-bind", folders.prefix, at.prefix]
    binds += ["--ro-bind", folders.packages, at.packages, "--ro-bind", folders.runner, at.runner]
    binds += ["--ro-bind", folders.trees, at.trees]
    binds += ["--symlink", executable_inside(runtime), ISOLATED_PYTHON]
    for target, source in files.items():
        binds += ["--ro-bind", source, target]
    for name, value in environment_inside(runtime, limits, seeded=seeded).items():
        binds += ["--setenv", name, value]
    return [*binds, "--remount-ro", "/"]


def where_inside(runtime: RuntimePaths) -> Folders:
    """Where a run finds its folders."""
    return Folders(
        prefix=str(runtime.prefix) if _is_system(runtime.prefix) else "/opt/python",
        packages=f"{_RUNTIME}/lib/python{runtime.version}/site-packages",
        runner=f"{INSIDE}/predictd_runner",
        trees=f"{INSIDE}/predictd_trees",
    )


def executable_inside(runtime: RuntimePaths) -> str:
    """Where a run finds the base interpreter, which ISOLATED_PYTHON links to."""
    return os.path.join(where_inside(runtime).prefix, os.path.relpath(runtime.python, runtime.prefix))


def environment_inside(runtime: RuntimePaths, limits: Limits, *, seeded: bool) -> dict[str, str]:
    """All of the environment that a model gets in a sandbox."""
    values = environment(limits, "/tmp", seeded=seeded)  # noqa: S108 (a tmpfs of the sandbox)
    if not _is_system(runtime.prefix) and any(runtime.prefix.glob("lib/libpython3*.so*")):
        values["LD_LIBRARY_PATH"] = f"{where_inside(runtime).prefix}/lib"
    return values


def environment_files(runtime: RuntimePaths) -> dict[str, str]:
    """What makes the runtime inside a virtual environment, by path.

    Processes that a model starts by `sys.executable` (joblib, multiprocessing) find the packages through it.
    """
    home = os.path.dirname(executable_inside(runtime))
    text = f"home = {home}\ninclude-system-site-packages = false\nversion = {runtime.version}\n"
    return {f"{_RUNTIME}/pyvenv.cfg": text}


def interpreter(python: str, at: Folders, task: Mapping[str, object], module: str = "main") -> list[str]:
    """The command that runs the runner in that Python, with the folders as the run sees them."""
    package = f"{os.path.basename(at.runner)}.{module}"
    # Isolated but for the environment, which is all ours and may hold the seed of hashes: the first path is the
    # working folder's.
    start = f"import sys; sys.path[0] = {os.path.dirname(at.runner)!r}; from {package} import main; main()"
    return [python, "-s", "-B", "-X", "utf8", "-c", start, json.dumps({"packages": at.packages, **task})]


def _is_system(prefix: Path) -> bool:
    return prefix == Path("/usr") or Path("/usr") in prefix.parents
