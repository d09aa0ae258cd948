"""The system calls that a model may not make: for bubblewrap as a compiled program, for containers as a profile."""

import errno
import functools
import os
import tempfile
from dataclasses import dataclass

_AF_UNIX = 1
# Namespaces: user, pid, network, mount, ipc, uts, cgroup.
_CLONE_NEW = (0x10000000, 0x20000000, 0x40000000, 0x00020000, 0x08000000, 0x04000000, 0x02000000)
_TERMINAL_INJECTION = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
# Libraries try these first and fall back when the kernel seems too old for them: rings and asynchronous files, whose
# work the kernel does outside of the run's group; what reports which files of the host are opened, or are in its page
# cache; advice on the memory of other processes; policies for memory, which the kernel stores for each page of a file
# in memory that no control group counts; pages in pipes, each of which may hold on to 2 MiB.
_UNKNOWN = (
    *("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register", "io_setup"),
    *("inotify_init", "inotify_init1", "inotify_add_watch", "inotify_rm_watch", "fanotify_init", "fanotify_mark"),
    *("mincore", "cachestat", "process_madvise"),
    *("mbind", "set_mempolicy", "set_mempolicy_home_node", "migrate_pages", "move_pages", "vmsplice"),
)
_REFUSED = (
    *("ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "perf_event_open", "userfaultfd"),
    *("mount", "umount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "mount_setattr"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "unshare", "setns", "bpf", "keyctl", "add_key", "request_key"),
    *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "create_module"),
    *("open_by_handle_at", "name_to_handle_at", "quotactl", "quotactl_fd", "acct", "swapon"),
    *("swapoff", "reboot", "syslog", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "stime"),
    *("sethostname", "setdomainname", "iopl", "ioperm", "modify_ldt", "vm86", "vm86old", "uselib", "ustat", "sysfs"),
    *("nfsservctl", "lookup_dcookie", "vhangup", "memfd_secret", "_sysctl", "personality"),
    # They write back whatever the host has not written yet, and their duration shows how much that is.
    *("sync", "syncfs"),
    # Further filters: the kernel compiles them into memory that no control group counts and that all processes share.
    "seccomp",
)
_F_SETLEASE, _F_NOTIFY = 1024, 1026
# F_SETLK and F_SETLKW, and those of open file descriptions.
_RECORD_LOCKS = (6, 7, 37, 38)
# SO_ATTACH_FILTER and SO_ATTACH_REUSEPORT_CBPF.
_SOCKET_FILTERS = (26, 51)
_MAP_SHARED_AND_ANONYMOUS, _MAP_HUGETLB, _MFD_HUGETLB = 0x21, 0x40000, 4
_RWF_NOWAIT = 8
_POSIX_FADV_DONTNEED = 4
_MADV_MERGEABLE, _PR_SET_MEMORY_MERGE = 12, 67
_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SCHED_CORE = 4, 22, 62
_WHOLE_INT = 0xFFFFFFFF

_UNCOUNTED = ("memfd_create", "shmget", "semget", "msgget")


Argument = tuple[int, tuple[str, int] | tuple[str, int, int]]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """System calls that are refused.

    Attributes:
        names: of the calls; those that the architecture does not have are passed over.
        error: the errno that they get.
        argument: position and test of one argument, None to refuse the call whatever its arguments; the test is
            ('ne', value), or ('masked_eq', mask, value).
        also: the same of a further argument, both of which must be met.
    """

    names: tuple[str, ...]
    error: int
    argument: Argument | None = None
    also: Argument | None = None

    @property
    def arguments(self) -> list[Argument]:
        """All tests of arguments."""
        return [argument for argument in (self.argument, self.also) if argument is not None]


# Arguments with which a call reports what the host does (leases and notifications of the files that a run sees, reads
# that only the page cache serves, and removal of files from it, after which a slow read shows that nobody has read them
# since) or makes the kernel compare the memory of the run with that of other processes.
_SIDE_CHANNELS = [
    *(
        Rule(names=("fcntl", "fcntl64"), error=errno.EINVAL, argument=(1, ("masked_eq", _WHOLE_INT, command)))
        for command in (_F_SETLEASE, _F_NOTIFY)
    ),
    Rule(names=("preadv2",), error=errno.EOPNOTSUPP, argument=(5, ("masked_eq", _RWF_NOWAIT, _RWF_NOWAIT))),
    Rule(
        names=("fadvise64", "arm_fadvise64_64"),
        error=errno.EINVAL,
        argument=(3, ("masked_eq", _WHOLE_INT, _POSIX_FADV_DONTNEED)),
    ),
    Rule(names=("madvise",), error=errno.EINVAL, argument=(2, ("masked_eq", _WHOLE_INT, _MADV_MERGEABLE))),
    Rule(names=("prctl",), error=errno.EINVAL, argument=(0, ("masked_eq", _WHOLE_INT, _PR_SET_MEMORY_MERGE))),
]
# Arguments with which a call takes what no control group limits: the kernel's memory for locks on parts of files (locks
# on whole files, of which an open file has one, are allowed), compiled filters, huge pages that the machine has set
# aside, and the other half of a processor.
_UNLIMITED = [
    *(
        Rule(names=("fcntl", "fcntl64"), error=errno.ENOLCK, argument=(1, ("masked_eq", _WHOLE_INT, command)))
        for command in _RECORD_LOCKS
    ),
    *(
        Rule(names=("setsockopt",), error=errno.EPERM, argument=(2, ("masked_eq", _WHOLE_INT, option)))
        for option in _SOCKET_FILTERS
    ),
    Rule(names=("mmap",), error=errno.ENOMEM, argument=(3, ("masked_eq", _MAP_HUGETLB, _MAP_HUGETLB))),
    Rule(names=("memfd_create",), error=errno.ENOMEM, argument=(1, ("masked_eq", _MFD_HUGETLB, _MFD_HUGETLB))),
    Rule(names=("prctl",), error=errno.EPERM, argument=(0, ("masked_eq", _WHOLE_INT, _PR_SET_SECCOMP))),
    Rule(names=("prctl",), error=errno.EINVAL, argument=(0, ("masked_eq", _WHOLE_INT, _PR_SCHED_CORE))),
]
# Where there is no control group: larger buffers of sockets and shared memory without a file are memory that belongs to
# no process, what an opaque process has open can't be counted, and a run is kept to its share of the processors by its
# affinity.
_WITHOUT_GROUP = [
    Rule(
        names=("prctl",),
        error=errno.EPERM,
        argument=(0, ("masked_eq", _WHOLE_INT, _PR_SET_DUMPABLE)),
        also=(1, ("masked_eq", _WHOLE_INT, 0)),
    ),
    Rule(
        names=("mmap",),
        error=errno.EPERM,
        argument=(3, ("masked_eq", _MAP_SHARED_AND_ANONYMOUS, _MAP_SHARED_AND_ANONYMOUS)),
    ),
    Rule(names=("setsockopt",), error=errno.EPERM, argument=(2, ("masked_eq", _WHOLE_INT, 7))),  # SO_SNDBUF
    Rule(names=("sched_setaffinity",), error=errno.EPERM),
]


def rules(*, counts_all_memory: bool = True) -> list[Rule]:
    """All that is refused.

    Args:
        counts_all_memory: False, where a run has no control group, refuses memory that belongs to no process, which
            sampling would miss.
    """
    unknown = _UNKNOWN if counts_all_memory else (*_UNKNOWN, *_UNCOUNTED)
    return [
        Rule(names=_REFUSED, error=errno.EPERM),
        Rule(names=unknown, error=errno.ENOSYS),
        # Of another process: with a limit of its own the first one could be made to end, as if from outside.
        Rule(names=("prlimit64",), error=errno.EPERM, argument=(0, ("ne", 0))),
        Rule(names=("socket", "socketpair"), error=errno.EAFNOSUPPORT, argument=(0, ("ne", _AF_UNIX))),
        *_SIDE_CHANNELS,
        *_UNLIMITED,
        *([] if counts_all_memory else _WITHOUT_GROUP),
        *(Rule(names=("clone",), error=errno.EPERM, argument=(0, ("masked_eq", f, f))) for f in _CLONE_NEW),
        *(
            Rule(names=("ioctl",), error=errno.EPERM, argument=(1, ("masked_eq", _WHOLE_INT, request)))
            for request in _TERMINAL_INJECTION
        ),
    ]


@functools.cache
def program(*, counts_all_memory: bool = True) -> bytes:
    """The filter compiled for this machine; calls of any other architecture (i386, x32) kill the process.

    Raises:
        ImportError, OSError, RuntimeError: libseccomp (libseccomp.so.2) is missing or can't compile it.
    """
    import pyseccomp  # noqa: PLC0415 (loads libseccomp, which a machine may lack)

    compiled = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    # The whole process: killing only the thread that called, which is the default, leaves the others waiting for it.
    compiled.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
    tests = {"ne": pyseccomp.NE, "masked_eq": pyseccomp.MASKED_EQ}
    for rule in rules(counts_all_memory=counts_all_memory):
        conditions = [pyseccomp.Arg(position, tests[test], *values) for position, (test, *values) in rule.arguments]
        for name in rule.names:
            if pyseccomp.resolve_syscall(pyseccomp.system_arch(), name) >= 0:
                compiled.add_rule(pyseccomp.ERRNO(rule.error), name, *conditions)
    with tempfile.TemporaryFile() as file:
        compiled.export_bpf(file)
        file.flush()
        return os.pread(file.fileno(), 1 << 20, 0)


def profile() -> dict[str, object]:
    """The same as a seccomp profile of Docker and Podman."""
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {
                "names": list(rule.names),
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": rule.error,
                "args": [_profile_argument(*argument) for argument in rule.arguments],
            }
            for rule in rules()
        ],
    }


def _profile_argument(position: int, test: tuple[str, int] | tuple[str, int, int]) -> dict[str, object]:
    name, *values = test
    return {
        "index": position,
        "value": values[0],
        "valueTwo": values[-1] if name == "masked_eq" else 0,
        "op": f"SCMP_CMP_{name.upper()}",
    }
