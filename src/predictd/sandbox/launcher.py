"""Runs between the server and one run: joins its resource group, drops privileges and becomes bubblewrap.

A separate program (`python -I -S launcher.py FD`, with its configuration as JSON on that descriptor), because the
server's threads must not run Python code between fork and exec. Standard library only. All steps run in this process,
so killing it kills the run.

The configuration:
    parent    pid of the server, with which the run dies; or null
    member_files   files into which this process writes its pid to join the run's resource group
    rlimits   {name of a resource.RLIMIT_*: value}
    cpus      processors to pin to, or null
    uid       user and group to become, or null
    staging   null, or {"at": folder, "folders": {name: path}, "files": [path]}: bind-mounts into a private tmpfs over
              that folder, so that `uid` reaches them whatever the modes above them; files are left open, read-only
    descriptors   numbers of the descriptors to pass on
    argv, env the program to run; it gets the staged files and then the descriptors as 3, 4, …, and no others
    reap      run it as a child instead, and kill the processes it leaves behind (there is no pid namespace to do so)
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

# In isolated mode the interpreter does not find predictd.
sys.path.insert(0, str(Path(__file__).parents[2]))

from predictd.runner import syscalls


def main() -> None:
    """Launch the run of the configuration; never return."""
    with os.fdopen(int(sys.argv[1]), "rb") as file:
        config = json.load(file)
    if config["parent"] is not None:
        _die_with(config["parent"])
    for path in config["member_files"]:
        with open(path, "w", encoding="ascii") as group:
            group.write(str(os.getpid()))
    if config["cpus"]:
        os.sched_setaffinity(0, config["cpus"])
    files = _stage(**config["staging"]) if config["staging"] else []
    # Before the limit on open files, which the server's descriptors may exceed.
    syscalls.keep_descriptors([*files, *config["descriptors"]])
    for name, value in config["rlimits"].items():
        syscalls.limit(getattr(resource, name), value)
    if config["uid"] is not None:
        os.setgroups([])
        os.setresgid(config["uid"], config["uid"], config["uid"])
        os.setresuid(config["uid"], config["uid"], config["uid"])
        if config["parent"] is not None:
            _die_with(config["parent"])  # a change of user clears it
    if config["reap"]:
        _supervise(config)
    os.execve(config["argv"][0], config["argv"], config["env"])  # noqa: S606


def _die_with(parent: int) -> None:
    syscalls.die_with_parent()
    if os.getppid() != parent:
        sys.exit("the server has ended")


def _stage(at: str, folders: dict[str, str], files: Sequence[str]) -> list[int]:
    """Bind the folders below `at`; return descriptors of the files."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    # Opened in this namespace and before `at` is covered, because they may lie below it.
    sources = {path: os.open(path, os.O_PATH) for path in (*folders.values(), *files)}
    syscalls.mount("tmpfs", at, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=755,size=1m")
    for name, path in folders.items():
        os.mkdir(f"{at}/{name}")
        _bind(sources[path], f"{at}/{name}")
    opened = []
    for number, path in enumerate(files):
        target = f"{at}/{number}"
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o400))
        _bind(sources[path], target)
        # Opened through the read-only mount, it can't be reopened for writing, whatever the file's mode.
        opened.append(os.open(target, os.O_RDONLY))
    return opened


def _bind(source: int, target: str) -> None:
    flags = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount(f"/proc/self/fd/{source}", target, None, syscalls.MS_BIND | syscalls.MS_REC)
    syscalls.mount(None, target, None, flags)


def _supervise(config: dict[str, Any]) -> NoReturn:
    """Run the command as a child; when it ends, or on SIGTERM, kill all descendants."""
    syscalls.adopt_orphans()
    syscalls.refuse_privileges()

    def stop(*_: object) -> NoReturn:
        _kill_descendants()
        os._exit(128 + signal.SIGKILL)

    signal.signal(signal.SIGTERM, stop)
    supervisor = os.getpid()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _die_with(supervisor)
        os.chdir(config["env"]["HOME"])
        os.execve(config["argv"][0], config["argv"], config["env"])  # noqa: S606
    while True:
        pid, status = os.wait()
        if pid == child:
            break
    _kill_descendants()
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _kill_descendants() -> None:
    """Kill all descendants: orphans become children of this process, so kill children until none is left."""
    while True:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            children = [int(pid) for pid in file.read().split()]
        if not children:
            return
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
