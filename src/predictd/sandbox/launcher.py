"""Stands between the server and one run: joins its resource group, drops privileges, becomes bubblewrap.

A program of its own (`python -I -S launcher.py FD`, with its configuration as JSON on that descriptor), because the
server's threads may not run Python code between fork and exec. Standard library only. Each step stays in this process,
so whoever kills it kills the run.

The configuration:
    parent    pid of the server; when it dies, the run does; or null
    joins     files into which this process writes its pid to join the run's resource group
    rlimits   {name of a resource.RLIMIT_*: value}
    cpus      processors to stay on, or null
    uid       user and group to become, or null
    staging   null, or {"at": folder, "folders": {name: path}, "files": {descriptor: path}}: bind-mounts into a private
              tmpfs over that folder, so that `uid` reaches them whatever the modes above them; files are left open,
              read-only, as those descriptors
    argv, env what to run
    reap      run it as a child instead, and kill all that it leaves behind (there is no pid namespace to do so)
"""

import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWNS = 0x20000
_MS_READ_ONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND, _MS_REC = 0x1, 0x2, 0x4, 0x20, 0x1000, 0x4000
_MS_PRIVATE = 0x40000

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Do as the configuration says; never returns."""
    with os.fdopen(int(sys.argv[1]), "rb") as file:
        config = json.load(file)
    if config["parent"] is not None:
        _die_with(config["parent"])
    for path in config["joins"]:
        with open(path, "w", encoding="ascii") as group:
            group.write(str(os.getpid()))
    for name, value in config["rlimits"].items():
        _limit(getattr(resource, name), value)
    if config["cpus"]:
        os.sched_setaffinity(0, config["cpus"])
    if config["staging"]:
        _stage(**config["staging"])
    if config["uid"] is not None:
        os.setgroups([])
        os.setresgid(config["uid"], config["uid"], config["uid"])
        os.setresuid(config["uid"], config["uid"], config["uid"])
        if config["parent"] is not None:
            _die_with(config["parent"])  # a change of user clears it
    if config["reap"]:
        _supervise(config)
    os.execve(config["argv"][0], config["argv"], config["env"])  # noqa: S606


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _die_with(parent: int) -> None:
    _check(_libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0), "prctl")
    if os.getppid() != parent:
        sys.exit("the server is gone")


def _limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    most = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (most, most))


def _stage(at: str, folders: dict[str, str], files: dict[str, str]) -> None:
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    # Opened in this namespace and before `at` is covered, because they may lie below it.
    sources = {path: os.open(path, os.O_PATH) for path in (*folders.values(), *files.values())}
    _mount("tmpfs", at, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755,size=1m")
    for name, path in folders.items():
        target = f"{at}/{name}"
        os.mkdir(target)
        _bind(sources[path], target)
    for descriptor, path in files.items():
        target = f"{at}/{descriptor}"
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o400))
        _bind(sources[path], target)
        # Opened through the read-only mount: no way to reopen it for writing, whatever the file's mode.
        opened = os.open(target, os.O_RDONLY)
        os.dup2(opened, int(descriptor), inheritable=True)
        os.close(opened)
    for source in sources.values():
        os.close(source)


def _bind(source: int, target: str) -> None:
    _mount(f"/proc/self/fd/{source}", target, None, _MS_BIND | _MS_REC)
    _mount(None, target, None, _MS_BIND | _MS_REMOUNT | _MS_READ_ONLY | _MS_NOSUID | _MS_NODEV)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    _check(_libc.mount(*encoded[:3], ctypes.c_ulong(flags), encoded[3]), f"mount {target}")


def _supervise(config: dict[str, Any]) -> NoReturn:
    """Run the command as a child; once it ends, or on SIGTERM, kill all that descends from here."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")

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
    """Orphans become children of this process, so killing children until there are none left reaches all."""
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
