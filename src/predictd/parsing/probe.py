"""Try what a parser must not be able to do: a parser for tests and diagnosis that reads no format."""

import ctypes
import fcntl
import os
import resource
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import BinaryIO

MIB = 1 << 20


def try_everything(files: list[BinaryIO], server: int) -> list[bytes]:
    """Return the names of successful attempts, one per line; `server` is the process id of the server."""
    attempts: dict[str, Callable[[], object]] = {
        "open a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
        "list a folder": lambda: os.listdir("/"),
        "make a file": lambda: os.open("/tmp/predictd-probe", os.O_CREAT | os.O_WRONLY),  # noqa: S108
        "make a memory file": lambda: os.memfd_create("probe"),
        "make a process": os.fork,
        "start a program": lambda: os.execv("/bin/true", ["true"]),  # noqa: S606
        "make a socket": lambda: socket.socket(socket.AF_INET),
        "make a socket pair": socket.socketpair,
        "signal the server": lambda: os.kill(server, 0),
        "signal by descriptor": lambda: fcntl.fcntl(files[0].fileno(), fcntl.F_SETOWN, server),
        "lock the upload": lambda: fcntl.lockf(files[0], fcntl.LOCK_SH | fcntl.LOCK_NB),
        "become root": lambda: os.setuid(0),
        "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2),
        "write to the upload": lambda: os.write(files[0].fileno(), b"x"),
        "find another descriptor": lambda: os.dup(_unknown_descriptor(files)),
    }
    return [f"{name}\n".encode() for name, attempt in attempts.items() if _succeeds(attempt)]


def exhaust(files: list[BinaryIO], what: str) -> list[bytes]:
    """Exhaust `memory`, `time` or `processor` time, exceed the size of the `result`, or `crash`."""
    if what == "memory":
        return [bytes(MIB) for _ in range(10_000)]
    if what == "time":
        threading.Event().wait()
    while what == "processor":
        time.perf_counter()
    if what == "crash":
        ctypes.string_at(0)
    return [bytes(MIB)] * 64


def _unknown_descriptor(files: list[BinaryIO]) -> int:
    """Return an open descriptor besides the standard streams, the files and the pipe of the result."""
    expected = len(files) + 1
    open_descriptors = [number for number in range(3, 1024) if _succeeds(partial(os.fstat, number))]
    if len(open_descriptors) <= expected:
        raise OSError
    return open_descriptors[0]


def _succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (OSError, ValueError):
        return False
    return True
