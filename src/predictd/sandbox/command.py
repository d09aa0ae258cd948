"""Command lines of bubblewrap and the interpreter: what a run sees of the machine, and its environment."""

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
SANDBOX_HOME = "/opt/predictd"
HASH_SEED = 0
_RUNTIME = "/opt/runtime"
# Without zero: a shared mapping of it is memory that belongs to no process.
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
    """The folders that a run reads: on this machine, staged by the launcher, or inside the sandbox."""

    prefix: str
    packages: str
    runner: str
    trees: str


def build_environment(limits: Limits, home: str, *, seeded: bool) -> dict[str, str]:
    """Return the complete environment of a model; if `seeded`, string hashes are the same in every run."""
    threads = str(thread_count(limits))
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": home,
        "TMPDIR": home,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLCONFIGDIR": home,
        "NUMBA_CACHE_DIR": home,
        # Keeps Arrow's allocator from starting a thread, with which a fork server can't fork.
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
        # Arrow's other allocator reserves 1 GiB of address space, which counts where rlimits limit memory.
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        **dict.fromkeys(_THREAD_COUNTS, threads),
        **({"PYTHONHASHSEED": str(HASH_SEED)} if seeded else {}),
    }


def thread_count(limits: Limits) -> int:
    """Return the number of threads that libraries are configured to use."""
    return max(1, math.ceil(limits.cpus))


def bubblewrap(
    executable: str,
    limits: Limits,
    *,
    status_descriptor: int = -1,
    seccomp_descriptor: int = -1,
    text_files: Mapping[int, str] | None = None,
    is_fork_server: bool = False,
) -> list[str]:
    """Return the command of a sandbox without any files of a run: system libraries, an empty scratch, no network.

    Args:
        executable: path of bwrap.
        limits: sizes of the scratch.
        status_descriptor: where bubblewrap writes the pid of the first process inside.
        seccomp_descriptor: the compiled filter of system calls.
        text_files: descriptor -> path inside of each small file to create.
        is_fork_server: create the sandbox of a fork server, which confines its runs further: it keeps the capabilities
            of its own user namespace and has no filter.
    """
    shared_bytes = max(limits.scratch_bytes // 4, 1)
    command = [executable, "--unshare-all", "--unshare-user", "--new-session"]
    if is_fork_server:
        # Ends when its socket closes, not with its parent: the thread that starts it may end before it.
        command += ["--cap-add", "ALL"]
    else:
        command += ["--die-with-parent", "--cap-drop", "ALL", "--disable-userns", "--assert-userns-disabled"]
        command += ["--json-status-fd", str(status_descriptor), "--seccomp", str(seccomp_descriptor)]
    command += ["--uid", "1000", "--gid", "1000", "--hostname", "predictd", "--clearenv"]
    command += ["--ro-bind", "/usr", "/usr"]
    for name in _SYSTEM_FOLDERS:
        path = Path("/", name)
        if path.is_symlink():
            command += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            command += ["--ro-bind", str(path), str(path)]
    command += ["--proc", "/proc", *_devices(shared_bytes)]
    for path in (Path("/etc/ld.so.cache"), Path("/etc/localtime")):
        if path.exists():
            command += ["--ro-bind", str(path.resolve()), str(path)]
    for descriptor, inside in (text_files or {}).items():
        command += ["--ro-bind-data", str(descriptor), inside]
    return [*command, "--size", str(limits.scratch_bytes), "--perms", "1777", "--tmpfs", "/tmp", "--chdir", "/tmp"]  # noqa: S108


def _devices(shared_bytes: int) -> list[str]:
    """Return a /dev without terminals, whose buffers the kernel allocates outside of the run's group."""
    arguments = ["--tmpfs", "/dev"]
    for name in _DEVICES:
        arguments += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for name, target in _DEVICE_LINKS.items():
        arguments += ["--symlink", f"/proc/self/{target}", f"/dev/{name}"]
    return [*arguments, "--size", str(shared_bytes), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108


def etc_files() -> dict[str, str]:
    """Return the synthetic files of /etc by path."""
    return {f"/etc/{name}": text for name, text in _ETC.items()}


def sandbox_options(
    runtime: RuntimePaths, folders: Folders, files: Mapping[str, str], limits: Limits, *, seeded: bool
) -> list[str]:
    """Return the binds and the environment of one run, to append to `bubblewrap`.

    Args:
        runtime: paths of the interpreter on this machine.
        folders: where bubblewrap finds the folders to bind.
        files: path inside -> path on this machine of the data files to bind.
        limits: determine the environment.
        seeded: see `build_environment`.
    """
    inside = sandbox_folders(runtime)
    binds = [] if _is_system(runtime.prefix) else ["--ro-bind", folders.prefix, inside.prefix]
    binds += ["--ro-bind", folders.packages, inside.packages, "--ro-bind", folders.runner, inside.runner]
    binds += ["--ro-bind", folders.trees, inside.trees]
    binds += ["--symlink", sandbox_python(runtime), ISOLATED_PYTHON]
    for target, source in files.items():
        binds += ["--ro-bind", source, target]
    for name, value in sandbox_environment(runtime, limits, seeded=seeded).items():
        binds += ["--setenv", name, value]
    return [*binds, "--remount-ro", "/"]


def sandbox_folders(runtime: RuntimePaths) -> Folders:
    """Return the paths of the folders inside the sandbox."""
    return Folders(
        prefix=str(runtime.prefix) if _is_system(runtime.prefix) else "/opt/python",
        packages=f"{_RUNTIME}/lib/python{runtime.version}/site-packages",
        runner=f"{SANDBOX_HOME}/predictd_runner",
        trees=f"{SANDBOX_HOME}/predictd_trees",
    )


def sandbox_python(runtime: RuntimePaths) -> str:
    """Return the path inside the sandbox of the base interpreter, which ISOLATED_PYTHON links to."""
    return os.path.join(sandbox_folders(runtime).prefix, os.path.relpath(runtime.python, runtime.prefix))


def sandbox_environment(runtime: RuntimePaths, limits: Limits, *, seeded: bool) -> dict[str, str]:
    """Return the complete environment of a model in a sandbox."""
    values = build_environment(limits, "/tmp", seeded=seeded)  # noqa: S108 (a tmpfs of the sandbox)
    if not _is_system(runtime.prefix) and any(runtime.prefix.glob("lib/libpython3*.so*")):
        values["LD_LIBRARY_PATH"] = f"{sandbox_folders(runtime).prefix}/lib"
    return values


def environment_files(runtime: RuntimePaths) -> dict[str, str]:
    """Return the files by path that make the runtime inside the sandbox a virtual environment.

    Processes that a model starts with `sys.executable` (joblib, multiprocessing) find the packages through them.
    """
    home = os.path.dirname(sandbox_python(runtime))
    text = f"home = {home}\ninclude-system-site-packages = false\nversion = {runtime.version}\n"
    return {f"{_RUNTIME}/pyvenv.cfg": text}


def interpreter(python: str, inside: Folders, task: Mapping[str, object], module: str = "main") -> list[str]:
    """Return the command that runs a module of the runner in that Python, with the folders as the run sees them."""
    package = f"{os.path.basename(inside.runner)}.{module}"
    # Isolated except for the environment, which is complete and may hold the hash seed: the first path is the
    # working folder.
    program = f"import sys; sys.path[0] = {os.path.dirname(inside.runner)!r}; from {package} import main; main()"
    return [python, "-s", "-B", "-X", "utf8", "-c", program, json.dumps({"packages": inside.packages, **task})]


def _is_system(prefix: Path) -> bool:
    return prefix == Path("/usr") or Path("/usr") in prefix.parents
