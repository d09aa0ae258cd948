"""Makes device nodes in the scratch: of the disk, of the memory, and those that never end."""

from inside import answer, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import os
    import stat

    devices = {"sda": (8, 0), "vda": (254, 0), "mem": (1, 1), "zero": (1, 5), "kmsg": (1, 11), "tun": (10, 200)}
    for folder in ("/tmp", "/dev/shm", "/dev"):
        for name, (major, minor) in devices.items():
            for kind in (stat.S_IFBLK, stat.S_IFCHR):
                path, device = f"{folder}/hostile-{name}", os.makedev(major, minor)
                make = lambda p=path, k=kind, d=device: os.mknod(p, k | 0o666, d)  # noqa: E731
                refused(f"{folder} {name}", make, "EPERM", "EROFS", "EACCES")
    return answer(live_features)
