"""Mounts, moves and uncovers file systems, by the old calls and by the new ones."""

from inside import answer, call, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import os
    import subprocess

    os.mkdir("/tmp/at")
    kinds = (b"tmpfs", b"proc", b"sysfs", b"cgroup2", b"overlay", b"ext4", b"devpts", b"mqueue", b"bpf", b"fuse")
    for kind in kinds:
        refused(f"mount {kind}", lambda k=kind: call("mount", b"none", b"/tmp/at", k, 0, 0), "EPERM")
        refused(f"fsopen {kind}", lambda k=kind: call("fsopen", k, 0), "EPERM", "ENOSYS")
    for flags in (0x1000, 0x2000, 0x20, 0x1000 | 0x20, 0x100000, 0x40000):
        refused(f"mount {flags:#x}", lambda f=flags: call("mount", b"/usr", b"/tmp/at", 0, f, 0), "EPERM")
    for target in (b"/usr", b"/tmp", b"/proc", b"/dev", b"/"):
        refused(f"umount {target}", lambda t=target: call("umount2", t, 2), "EPERM")
    refused("open_tree", lambda: call("open_tree", -100, b"/usr", 1), "EPERM", "ENOSYS")
    refused("move_mount", lambda: call("move_mount", -100, b"/usr", -100, b"/tmp/at", 0), "EPERM", "ENOSYS")
    refused("mount_setattr", lambda: call("mount_setattr", -100, b"/usr", 0, 0, 0), "EPERM", "ENOSYS")
    for program in ("mount", "umount", "fusermount3", "su", "sudo", "newuidmap"):
        done = subprocess.run(
            ["sh", "-c", f"{program} -t tmpfs none /tmp/at </dev/null"], capture_output=True, check=False
        )
        assert done.returncode != 0, program
    return answer(live_features)
