"""Makes namespaces, in which it would be root, in every way; enters others'; rewrites who it is mapped to."""

from inside import answer, call, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import ctypes
    import os

    kinds = {"user": 0x10000000, "mnt": 0x20000, "pid": 0x20000000, "net": 0x40000000, "ipc": 0x8000000}
    kinds |= {"uts": 0x4000000, "cgroup": 0x2000000, "time": 0x80}
    for name, flag in kinds.items():
        refused(f"unshare {name}", lambda f=flag: call("unshare", f), "EPERM")
        if name != "time":
            for signal in (0, 17):
                refused(f"clone {name}", lambda f=flag, s=signal: call("clone", f | s, 0, 0, 0, 0), "EPERM")
            mixed = kinds["user"] | flag | 17
            refused(f"clone {name} as root", lambda f=mixed: call("clone", f, 0, 0, 0, 0), "EPERM")
        arguments = (ctypes.c_ulong * 11)(flag, 0, 0, 0, 17)
        refused(f"clone3 {name}", lambda a=arguments: call("clone3", a, 88), "ENOSYS")
        for pid in ("self", "1"):
            path = f"/proc/{pid}/ns/{name}"
            enter = lambda p=path, f=flag: call("setns", os.open(p, os.O_RDONLY), f)  # noqa: E731
            refused(f"setns {pid} {name}", enter, "EPERM", "EACCES")
    refused("setns by pidfd", lambda: call("setns", os.pidfd_open(1), 0x7E020000), "EPERM")
    for name, text in {"uid_map": b"0 0 1", "gid_map": b"0 0 1", "setgroups": b"allow", "projid_map": b"0 0 1"}.items():
        for pid in ("self", "1"):
            write = lambda n=name, t=text, p=pid: os.write(os.open(f"/proc/{p}/{n}", os.O_WRONLY), t)  # noqa: E731
            refused(f"{pid} {name}", write, "EPERM", "EACCES")
    return answer(live_features)
