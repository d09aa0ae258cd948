"""Reads the kernel's memory and messages, and turns its switches: dump, reboot, crash, devices."""

from inside import answer, refused

CODE = "success"
SAYS = None


def reach(path):
    """Opens it; an empty folder is as good as none, and so is one that holds a container's own marks."""
    import errno
    import os

    if os.path.isdir(path) and set(os.listdir(path)) <= {".containerenv", "secrets", "fs"}:
        raise OSError(errno.ENOENT, "empty")
    return os.open(path, os.O_RDONLY)


def write(path):
    """Writes to it; what a container hides is the device of nothing."""
    import errno
    import os

    if os.path.exists(path) and os.stat(path).st_rdev == os.makedev(1, 3):
        raise OSError(errno.ENOENT, "hidden")
    return os.write(os.open(path, os.O_WRONLY), b"1")


def predict(live_features):
    import os

    gone = ["/dev/kmsg", "/dev/mem", "/dev/kmem", "/dev/port", "/dev/sda", "/dev/vda", "/dev/kvm", "/dev/fuse"]
    gone += ["/dev/net/tun", "/dev/loop0", "/dev/userfaultfd", "/dev/vsock", "/sys", "/sys/fs/cgroup", "/boot"]
    for path in [*gone, "/run", "/var", "/mnt"]:
        refused(path, lambda p=path: reach(p), "ENOENT", "EACCES")
    for path in ("/proc/kcore", "/proc/kmsg", "/proc/slabinfo", "/proc/vmallocinfo", "/proc/kpagecount"):
        refused(path, lambda p=path: os.open(p, os.O_RDONLY), "EPERM", "EACCES", "ENOENT")
    written = [
        "sysrq-trigger",
        "sys/kernel/sysrq",
        "sys/kernel/core_pattern",
        "sys/kernel/modprobe",
        "irq/0/smp_affinity",
    ]
    written += [
        "sys/kernel/hostname",
        "sys/vm/drop_caches",
        "sys/vm/overcommit_memory",
        "sys/kernel/randomize_va_space",
    ]
    written += ["sys/fs/binfmt_misc/register", "sys/kernel/ns_last_pid", "sys/user/max_user_namespaces", "timer_list"]
    written += ["sys/kernel/yama/ptrace_scope", "bus/pci/00/00.0", "acpi"]
    for path in written:
        refused(path, lambda p=f"/proc/{path}": write(p), "EROFS", "EACCES", "EPERM", "ENOENT", "EISDIR")
    return answer(live_features)
