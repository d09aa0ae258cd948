"""The system calls that a model must not make: a compiled program for bubblewrap, a profile for containers."""

import errno
import functools
import os
import tempfile
from dataclasses import dataclass

_AF_UNIX = 1
# Namespaces: user, pid, network, mount, ipc, uts, cgroup.
_CLONE_NEW = (0x10000000, 0x20000000, 0x40000000, 0x00020000, 0x08000000, 0x04000000, 0x02000000)
_TERMINAL_INJECTION = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
# Libraries try these first and fall back if the kernel does not implement them: rings and asynchronous files, whose
# work the kernel does outside of the run's group; what reports which files of the host are opened, or are in its page
# cache; advice on the memory of other processes; policies for memory, which the kernel stores for each page of a file
# in memory that no control group counts; pages in pipes, each of which may hold on to 2 MiB.
_NOT_IMPLEMENTED = (
    *("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register", "io_setup"),
    *("inotify_init", "inotify_init1", "inotify_add_watch", "inotify_rm_watch", "fanotify_init", "fanotify_mark"),
    *("mincore", "cachestat", "process_madvise"),
    *("mbind", "set_mempolicy", "set_mempolicy_home_node", "migrate_pages", "move_pages", "vmsplice"),
)
_FORBIDDEN = (
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
_INT_MASK = 0xFFFFFFFF

_UNCOUNTED = ("memfd_create", "shmget", "semget", "msgget")


Argument = tuple[int, tuple[str, int] | tuple[str, int, int]]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """System calls that fail.

    Attributes:
        names: of the calls; names that the architecture does not have are ignored.
        error: their errno.
        argument: position and test of one argument, None to refuse the call with any arguments; the test is
            ('ne', value), or ('masked_eq', mask, value).
        also: a further argument whose test must match, too.
    """

    names: tuple[str, ...]
    error: int
    argument: Argument | None = None
    also: Argument | None = None

    @property
    def arguments(self) -> list[Argument]:
        """Return the tests of all arguments."""
        return [argument for argument in (self.argument, self.also) if argument is not None]


# Arguments with which a call reports what the host does (leases and notifications of the files that a run sees, reads
# that only the page cache serves, and removal of files from it, after which a slow read shows that nobody has read them
# since) or makes the kernel compare the memory of the run with that of other processes.
_SIDE_CHANNELS = [
    *(
        Rule(names=("fcntl", "fcntl64"), error=errno.EINVAL, argument=(1, ("masked_eq", _INT_MASK, command)))
        for command in (_F_SETLEASE, _F_NOTIFY)
    ),
    Rule(names=("preadv2",), error=errno.EOPNOTSUPP, argument=(5, ("masked_eq", _RWF_NOWAIT, _RWF_NOWAIT))),
    Rule(
        names=("fadvise64", "arm_fadvise64_64"),
        error=errno.EINVAL,
        argument=(3, ("masked_eq", _INT_MASK, _POSIX_FADV_DONTNEED)),
    ),
    Rule(names=("madvise",), error=errno.EINVAL, argument=(2, ("masked_eq", _INT_MASK, _MADV_MERGEABLE))),
    Rule(names=("prctl",), error=errno.EINVAL, argument=(0, ("masked_eq", _INT_MASK, _PR_SET_MEMORY_MERGE))),
]
# Arguments with which a call takes what no control group limits: the kernel's memory for locks on parts of files (locks
# on whole files, of which an open file has one, are allowed), compiled filters, huge pages that the machine has set
# aside, and the other half of a processor.
_UNLIMITED = [
    *(
        Rule(names=("fcntl", "fcntl64"), error=errno.ENOLCK, argument=(1, ("masked_eq", _INT_MASK, command)))
        for command in _RECORD_LOCKS
    ),
    *(
        Rule(names=("setsockopt",), error=errno.EPERM, argument=(2, ("masked_eq", _INT_MASK, option)))
        for option in _SOCKET_FILTERS
    ),
    Rule(names=("mmap",), error=errno.ENOMEM, argument=(3, ("masked_eq", _MAP_HUGETLB, _MAP_HUGETLB))),
    Rule(names=("memfd_create",), error=errno.ENOMEM, argument=(1, ("masked_eq", _MFD_HUGETLB, _MFD_HUGETLB))),
    Rule(names=("prctl",), error=errno.EPERM, argument=(0, ("masked_eq", _INT_MASK, _PR_SET_SECCOMP))),
    Rule(names=("prctl",), error=errno.EINVAL, argument=(0, ("masked_eq", _INT_MASK, _PR_SCHED_CORE))),
]
# Where there is no control group: larger buffers of sockets and shared memory without a file are memory that belongs to
# no process, the open files of an undumpable process can't be counted, and affinity limits a run to its share of the
# processors.
_WITHOUT_GROUP = [
    Rule(
        names=("prctl",),
        error=errno.EPERM,
        argument=(0, ("masked_eq", _INT_MASK, _PR_SET_DUMPABLE)),
        also=(1, ("masked_eq", _INT_MASK, 0)),
    ),
    Rule(
        names=("mmap",),
        error=errno.EPERM,
        argument=(3, ("masked_eq", _MAP_SHARED_AND_ANONYMOUS, _MAP_SHARED_AND_ANONYMOUS)),
    ),
    Rule(names=("setsockopt",), error=errno.EPERM, argument=(2, ("masked_eq", _INT_MASK, 7))),  # SO_SNDBUF
    Rule(names=("sched_setaffinity",), error=errno.EPERM),
]


def rules(*, counts_all_memory: bool = True) -> list[Rule]:
    """Return the rules of all refused calls.

    Args:
        counts_all_memory: False for a run without a control group, which also refuses memory that belongs to no
            process, because sampling would miss it.
    """
    not_implemented = _NOT_IMPLEMENTED if counts_all_memory else (*_NOT_IMPLEMENTED, *_UNCOUNTED)
    return [
        Rule(names=_FORBIDDEN, error=errno.EPERM),
        Rule(names=not_implemented, error=errno.ENOSYS),
        # Of another process: by a limit a model could end the first process, as if it were killed from outside.
        Rule(names=("prlimit64",), error=errno.EPERM, argument=(0, ("ne", 0))),
        Rule(names=("socket", "socketpair"), error=errno.EAFNOSUPPORT, argument=(0, ("ne", _AF_UNIX))),
        *_SIDE_CHANNELS,
        *_UNLIMITED,
        *([] if counts_all_memory else _WITHOUT_GROUP),
        *(Rule(names=("clone",), error=errno.EPERM, argument=(0, ("masked_eq", f, f))) for f in _CLONE_NEW),
        *(
            Rule(names=("ioctl",), error=errno.EPERM, argument=(1, ("masked_eq", _INT_MASK, request)))
            for request in _TERMINAL_INJECTION
        ),
    ]


@functools.cache
def program(*, counts_all_memory: bool = True) -> bytes:
    """Return the filter compiled for this machine; calls of another architecture (i386, x32) kill the process.

    Raises:
        ImportError, OSError, RuntimeError: libseccomp (libseccomp.so.2) is missing or can't compile it.
    """
    import pyseccomp  # noqa: PLC0415 (loads libseccomp, which a machine may lack)

    compiled = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    # Kill the process: by default only the calling thread is killed, and the other threads would wait for it.
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
    """Return the same rules as a seccomp profile of Docker and Podman."""
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
