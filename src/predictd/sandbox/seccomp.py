"""The system calls that a model may not make, as a program that bubblewrap loads into the kernel."""

import errno
import functools
import os
import tempfile

_AF_UNIX = 1
# Namespaces: user, pid, network, mount, ipc, uts, cgroup.
_CLONE_NEW = (0x10000000, 0x20000000, 0x40000000, 0x00020000, 0x08000000, 0x04000000, 0x02000000)
_TERMINAL_INJECTION = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
# Libraries try these first and fall back when the kernel seems too old for them.
_UNKNOWN = ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register")
_REFUSED = (
    *("ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "perf_event_open", "userfaultfd"),
    *("mount", "umount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "mount_setattr"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "unshare", "setns", "bpf", "keyctl", "add_key", "request_key"),
    *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "create_module"),
    *("open_by_handle_at", "name_to_handle_at", "fanotify_init", "quotactl", "quotactl_fd", "acct", "swapon"),
    *("swapoff", "reboot", "syslog", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "stime"),
    *("sethostname", "setdomainname", "iopl", "ioperm", "modify_ldt", "vm86", "vm86old", "uselib", "ustat", "sysfs"),
    *("nfsservctl", "lookup_dcookie", "vhangup", "memfd_secret", "_sysctl", "personality"),
)


@functools.cache
def program() -> bytes:
    """The compiled filter for this machine's architecture; calls of any other (i386, x32) kill the process.

    Raises:
        ImportError, OSError, RuntimeError: libseccomp (libseccomp.so.2) is missing or can't compile it.
    """
    import pyseccomp  # noqa: PLC0415 (loads libseccomp, which a machine may lack)

    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    # The whole process: killing only the thread that called, which is the default, leaves the others waiting for it.
    rules.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)

    def refuse(number: int, name: str, *conditions: object) -> None:
        if pyseccomp.resolve_syscall(pyseccomp.system_arch(), name) >= 0:
            rules.add_rule(pyseccomp.ERRNO(number), name, *conditions)

    for name in _REFUSED:
        refuse(errno.EPERM, name)
    for name in _UNKNOWN:
        refuse(errno.ENOSYS, name)
    for name in ("socket", "socketpair"):
        refuse(errno.EAFNOSUPPORT, name, pyseccomp.Arg(0, pyseccomp.NE, _AF_UNIX))
    for flag in _CLONE_NEW:
        refuse(errno.EPERM, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
    for request in _TERMINAL_INJECTION:
        refuse(errno.EPERM, "ioctl", pyseccomp.Arg(1, pyseccomp.MASKED_EQ, 0xFFFFFFFF, request))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.flush()
        return os.pread(file.fileno(), 1 << 20, 0)
