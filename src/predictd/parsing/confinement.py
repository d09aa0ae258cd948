"""Confine a parser process before it reads its first untrusted byte. Linux only.

Each step affects this process only, and the process can't undo it.
"""

import errno
import fcntl
import os
import resource
import sys
from collections.abc import Sequence
from typing import Any

from predictd.runner import syscalls

# Runs have the user ids from 200,000 on.
PARSER_USER = 199_999
_CLONE_THREAD = 0x10000
_MAX_DESCRIPTORS = 64
# Limits processes and threads of this user, so a parser can't exhaust those of the machine.
_MAX_TASKS = 4096
_DESCRIPTOR_COMMANDS = (fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL)
# What a parser needs after its imports: memory, threads and open descriptors. No call here opens a file, creates or
# contacts a process, or reaches the network.
_ALLOWED = (
    *("read", "readv", "pread64", "preadv", "write", "writev", "lseek", "_llseek", "close", "fstat", "fstat64"),
    *("dup", "poll", "ppoll", "select", "pselect6", "pipe2", "eventfd2"),
    *("mmap", "mmap2", "munmap", "mprotect", "mremap", "madvise", "brk", "membarrier"),
    *("futex", "futex_time64", "set_robust_list", "get_robust_list", "rseq", "set_tid_address", "sched_yield"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall"),
    *("clock_gettime", "clock_gettime64", "clock_getres", "clock_nanosleep", "clock_nanosleep_time64", "nanosleep"),
    *("gettimeofday", "time", "getrandom", "getpid", "gettid", "getrusage", "getrlimit", "sched_getaffinity"),
    *("sched_getscheduler", "sched_getparam", "getcpu", "sysinfo", "uname", "arch_prctl", "exit", "exit_group"),
)


def compile_filter() -> Any | None:
    """Return the system call filter of parsers for `confine`, or None if libseccomp is missing."""
    try:
        import pyseccomp  # noqa: PLC0415 (loads libseccomp, which a machine may lack)

        syscall_filter = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
        for name in _ALLOWED:
            _add(pyseccomp, syscall_filter, pyseccomp.ALLOW, name)
        # Other commands send signals to any process of this user (F_SETOWN) or take locks.
        for command in _DESCRIPTOR_COMMANDS:
            for name in ("fcntl", "fcntl64"):
                _add(pyseccomp, syscall_filter, pyseccomp.ALLOW, name, pyseccomp.Arg(1, pyseccomp.EQ, command))
        # glibc creates threads with clone if the kernel has no clone3.
        _add(pyseccomp, syscall_filter, pyseccomp.ERRNO(errno.ENOSYS), "clone3")
        thread = pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD)
        _add(pyseccomp, syscall_filter, pyseccomp.ALLOW, "clone", thread)
    except (ImportError, OSError, RuntimeError) as error:
        sys.stderr.write(f"Parsers run without a filter of system calls: {error}\n")
        return None
    return syscall_filter


def _add(library: Any, syscall_filter: Any, action: int, name: str, *conditions: Any) -> None:
    if library.resolve_syscall(library.system_arch(), name) >= 0:
        syscall_filter.add_rule(action, name, *conditions)


def confine(
    descriptors: Sequence[int], *, memory_bytes: int, cpu_seconds: int, syscall_filter: Any | None
) -> Sequence[int]:
    """Keep these descriptors and drop all other access.

    Args:
        descriptors: stay open; standard input, output and error become /dev/null.
        memory_bytes: limit on the growth of the address space from its current size.
        cpu_seconds: processor time after which the process is killed by SIGXCPU.
        syscall_filter: from `compile_filter`.

    Returns:
        The new numbers of the descriptors.

    Raises:
        OSError: A step failed; the process must not continue.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(syscalls.FIRST_DESCRIPTOR):
        os.dup2(null, standard)
    syscalls.keep_descriptors(descriptors)
    max_bytes = _address_space() + memory_bytes
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(PARSER_USER, PARSER_USER, PARSER_USER)
        os.setresuid(PARSER_USER, PARSER_USER, PARSER_USER)
    # After the change of user, which clears this setting.
    parent = os.getppid()
    syscalls.die_with_parent()
    if os.getppid() != parent:
        raise OSError(errno.ESRCH, "the parent process has ended")
    syscalls.set_dumpable(False)
    syscalls.refuse_privileges()
    syscalls.limit(resource.RLIMIT_CORE, 0)
    # Does not limit pipes, but memory files.
    syscalls.limit(resource.RLIMIT_FSIZE, 0)
    syscalls.limit(resource.RLIMIT_NOFILE, _MAX_DESCRIPTORS)
    syscalls.limit(resource.RLIMIT_NPROC, _MAX_TASKS)
    syscalls.limit(resource.RLIMIT_AS, max_bytes)
    # SIGXCPU shows why it died; a second later it is killed.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    if syscall_filter is not None:
        syscall_filter.load()
    return range(syscalls.FIRST_DESCRIPTOR, syscalls.FIRST_DESCRIPTOR + len(descriptors))


def _address_space() -> int:
    """Return the size of this process's address space in bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
