"""Attempts to escape from the sandbox, run inside it: `python -I -S escapes.py`.

Prints a line for each of NAMES: 'blocked NAME', or 'open NAME' for an attempt that succeeded. With an argument N it
allocates N MiB of memory instead, to test whether the limit ends it. Standard library only.
"""

import ctypes
import fcntl
import os
import platform
import socket
import stat
import sys
import time
from collections.abc import Callable

_CALLS = {
    "x86_64": {"ptrace": 101, "mount": 165, "keyctl": 250, "bpf": 321, "perf_event_open": 298, "inotify_init1": 294},
    "aarch64": {"ptrace": 117, "mount": 40, "keyctl": 219, "bpf": 280, "perf_event_open": 241, "inotify_init1": 26},
}.get(platform.machine(), {})
# Same numbers on every architecture.
_NEW_CALLS = {"io_uring_setup": 425, "clone3": 435}
_F_NOTIFY, _DN_ACCESS = 1026, 1
_NEW_USER = 0x10000000
_NO_NEW_PRIVILEGES = "NoNewPrivs:\t1"


def _call(name: str, *arguments: int | bytes) -> None:
    number = {**_CALLS, **_NEW_CALLS}.get(name)
    libc = ctypes.CDLL(None, use_errno=True)
    if number is None or libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def _unshare() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_USER) < 0:
        raise OSError(ctypes.get_errno(), "unshare")


def _write(path: str) -> None:
    with open(path, "r+b") as file:
        file.write(b"x")


def _create(path: str) -> None:
    with open(path, "wb") as file:
        file.write(b"x")


def _read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def _list(path: str) -> None:
    if not os.listdir(path):
        raise OSError("empty")


def _see_other_processes() -> None:
    names = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            names.append(file.read().strip())
    if all(name.startswith(("bwrap", "python")) for name in names):
        raise OSError(names)


def _notify(path: str) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        fcntl.fcntl(folder, _F_NOTIFY, _DN_ACCESS)
    finally:
        os.close(folder)


def _find_interface() -> None:
    if [name for _, name in socket.if_nameindex() if name != "lo"] == []:
        raise OSError("only lo")


def _have_capabilities() -> None:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        lines = file.read().splitlines()
    sets = {line.split(":")[0]: int(line.split()[1], 16) for line in lines if line.startswith("Cap")}
    if not any(sets.values()) and _NO_NEW_PRIVILEGES in lines:
        raise OSError("none")


def _have_environment() -> None:
    if not any(name.startswith(("PREDICTD_", "AWS_", "NUMERAI")) for name in os.environ):
        raise OSError("none")


def _inherit_descriptors() -> None:
    """Besides the standard streams a run has one pipe, the channel, and read-only descriptors of its files."""
    pipes = 0
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            mode, flags = os.fstat(number).st_mode, fcntl.fcntl(number, fcntl.F_GETFL)
        except OSError:  # the descriptor of the listing itself
            continue
        if number <= 2 or (stat.S_ISREG(mode) and flags & os.O_ACCMODE == os.O_RDONLY):
            continue
        pipes += 1
        if pipes > 1 or not stat.S_ISFIFO(mode):
            return
    raise OSError("none")


_ATTEMPTS: dict[str, Callable[[], object]] = {
    "reading /etc/shadow": lambda: _read("/etc/shadow"),
    "listing root's home": lambda: _list("/root"),
    "listing homes": lambda: _list("/home"),
    "listing /sys": lambda: _list("/sys"),
    "writing into the root folder": lambda: _create("/escaped"),
    "writing into /usr": lambda: _create("/usr/escaped"),
    "writing into /dev": lambda: _create("/dev/escaped"),
    "writing to the interpreter": lambda: _create(os.path.join(sys.prefix, "escaped")),
    "writing the core pattern": lambda: _write("/proc/sys/kernel/core_pattern"),
    "writing to the sysrq trigger": lambda: _write("/proc/sysrq-trigger"),
    "seeing other processes": _see_other_processes,
    "seeing the server's environment": _have_environment,
    "inheriting descriptors of the server": _inherit_descriptors,
    "becoming root": lambda: os.setuid(0),
    "having capabilities": _have_capabilities,
    "an internet socket": lambda: socket.socket(socket.AF_INET),
    "an IPv6 socket": lambda: socket.socket(socket.AF_INET6),
    "a vsock socket": lambda: socket.socket(getattr(socket, "AF_VSOCK", 40), socket.SOCK_STREAM),
    "a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "a packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "a network interface": _find_interface,
    "tracing a process": lambda: _call("ptrace", 0, 0, 0, 0),
    "mounting": lambda: _call("mount", b"tmpfs", b"/tmp", b"tmpfs", 0, 0),
    "a new user namespace": _unshare,
    "a clone3": lambda: _call("clone3", 0, 0),
    "a key ring": lambda: _call("keyctl", 0, 0, 0),
    "a BPF program": lambda: _call("bpf", 0, 0, 0),
    "an io_uring": lambda: _call("io_uring_setup", 1, 0),
    "a performance counter": lambda: _call("perf_event_open", 0, 0, 0, 0, 0),
    "watching files by inotify": lambda: _call("inotify_init1", 0),
    "watching files by dnotify": lambda: _notify("/usr/bin"),
    "a terminal": os.openpty,
}
NAMES = tuple(_ATTEMPTS)


def main() -> None:
    """Run every attempt, or allocate memory."""
    if len(sys.argv) > 1:
        allocated = bytearray(b"x") * (int(sys.argv[1]) << 20)
        time.sleep(60)
        sys.exit(len(allocated) == 0)
    for name, attempt in _ATTEMPTS.items():
        try:
            attempt()
        except OSError:
            print("blocked", name, flush=True)  # noqa: T201
        else:
            print("open", name, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
