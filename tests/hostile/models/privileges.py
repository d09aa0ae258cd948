"""Becomes root: by the calls that change the user, by capabilities, by programs that have the user's bit."""

from inside import answer, call, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import ctypes
    import os
    import subprocess
    from pathlib import Path

    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    user = status["Uid"].split()
    assert user == status["Gid"].split() == user[:1] * 4
    assert int(user[0]) >= 1000
    assert status["Groups"].strip() in ("", "65534", user[0])
    # Whose numbers these are on the machine: one, unprivileged, and no other.
    assert len(Path("/proc/self/uid_map").read_text().splitlines()) == 1
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 0, 0, 0, 0) == libc.prctl(24, 21, 0, 0, 0) == -1
    for name, arguments in {"setuid": (0,), "setgid": (0,), "setresuid": (0, 0, 0), "setgroups": ([0],)}.items():
        refused(name, lambda n=name, a=arguments: getattr(os, n)(*a), "EPERM", "EINVAL")
    for name in ("setresgid", "setreuid", "setregid"):
        numbers = (0, 0, 0) if name == "setresgid" else (0, 0)
        refused(name, lambda n=name, a=numbers: getattr(os, n)(*a), "EPERM", "EINVAL")
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
    refused("capset", lambda: call("capset", header, data), "EPERM")
    for program in ("/usr/bin/su", "/usr/bin/passwd", "/usr/bin/chsh", "/usr/bin/newgrp", "/usr/bin/mount"):
        if os.path.exists(program):
            done = subprocess.run([program], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            print("tried", program, done.returncode)
    shell = subprocess.run(
        ["sh", "-c", "cp /usr/bin/id /tmp/id && chmod 6755 /tmp/id && /tmp/id"], capture_output=True, check=False
    )
    assert b"euid=0" not in shell.stdout
    # The root of a container is mounted without it, and no privilege is to be had there all the same.
    for folder in ("/tmp", "/dev/shm") if "container" in os.environ else ("/", "/usr", "/tmp", "/dev/shm"):
        assert os.statvfs(folder).f_flag & os.ST_NOSUID, folder
    return answer(live_features)
