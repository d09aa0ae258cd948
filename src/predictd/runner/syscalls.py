"""System calls that Python has no function for: namespaces, mounts, privileges, the filter of system calls.

Also used outside the sandbox, by the launcher. Standard library only.
"""

import contextlib
import ctypes
import fcntl
import os
import platform
import resource
import signal
from collections.abc import Sequence

# The first descriptor after the standard streams.
FIRST_DESCRIPTOR = 3
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x02000000
_CLONE_PIDFD = 0x1000
# Mount, UTS, IPC, pid, network; the cgroup namespace follows when the process is a member of its group.
_NAMESPACES = CLONE_NEWNS | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000
_SYS_CLONE = {"x86_64": 56, "aarch64": 220}
_SYS_CAPSET = {"x86_64": 126, "aarch64": 91}
_SYS_CLOSE_RANGE = 436
_LAST_DESCRIPTOR = 0xFFFFFFFF
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 0x1, 0x2, 0x4, 0x8, 0x20
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 1, 4, 22, 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION = 0x20080522
_LAST_CAPABILITY = 63

_libc = ctypes.CDLL(None, use_errno=True)


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def clone_into_namespaces() -> tuple[int, int]:
    """Fork into new namespaces except user and cgroup; return (0, -1) in the child, else its pid and pidfd.

    Raises:
        OSError: The kernel refused.
    """
    pidfd = ctypes.c_int(-1)
    flags = _NAMESPACES | _CLONE_PIDFD | int(signal.SIGCHLD)
    number = _SYS_CLONE[platform.machine()]
    pid = _libc.syscall(
        ctypes.c_long(number), ctypes.c_ulong(flags), None, ctypes.byref(pidfd), None, ctypes.c_ulong(0)
    )
    _check(pid, "clone")
    return pid, pidfd.value


def keep_descriptors(descriptors: Sequence[int]) -> None:
    """Renumber these descriptors in order from FIRST_DESCRIPTOR, and close all others after the standard streams.

    Descriptors can be above the current limit, if the limit was set after they were opened.
    """
    free = FIRST_DESCRIPTOR + len(descriptors)
    copies = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, free) for descriptor in descriptors]
    for target, copy in enumerate(copies, FIRST_DESCRIPTOR):
        os.dup2(copy, target)
    close_descriptors(free)


def close_descriptors(first: int) -> None:
    """Close every descriptor from `first`, even above the current limit."""
    numbers = ctypes.c_uint(first), ctypes.c_uint(_LAST_DESCRIPTOR), ctypes.c_uint(0)
    if _libc.syscall(ctypes.c_long(_SYS_CLOSE_RANGE), *numbers) < 0:  # a kernel before 5.9
        for number in map(int, os.listdir("/proc/self/fd")):
            with contextlib.suppress(OSError):  # the descriptor of the listing itself
                if number >= first:
                    os.close(number)


def limit(which: int, value: int) -> None:
    """Set the soft and the hard limit of a resource.RLIMIT_*, at most to the current hard limit."""
    hard = resource.getrlimit(which)[1]
    new_limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (new_limit, new_limit))


def unshare(flags: int) -> None:
    """See unshare(2)."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """See mount(2)."""
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    _check(_libc.mount(*texts[:3], ctypes.c_ulong(flags), texts[3]), f"mount {target}")


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def adopt_orphans() -> None:
    """Become the parent of descendants whose parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def refuse_privileges() -> None:
    """Prevent this process and its programs from gaining privileges, permanently."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def set_dumpable(dumpable: bool) -> None:
    """Set whether other processes of this user may inspect this process."""
    _prctl(_PR_SET_DUMPABLE, 1 if dumpable else 0)


def drop_capabilities() -> None:
    """Drop all capabilities, permanently."""
    for capability in range(_LAST_CAPABILITY):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break  # the kernel has no higher capability
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    refuse_privileges()
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    no_capabilities = (ctypes.c_uint32 * 6)()
    _check(_libc.syscall(ctypes.c_long(_SYS_CAPSET[platform.machine()]), header, no_capabilities), "capset")


def filter_calls(program: bytes) -> None:
    """Apply a compiled filter, 8 bytes per instruction, to this process and its descendants."""
    filter_program = _Filter(len(program) // 8, program)
    _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(filter_program), 0, 0), "seccomp")


def _prctl(option: int, value: int) -> None:
    _check(_libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)), "prctl")


def _check(result: int, call: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
