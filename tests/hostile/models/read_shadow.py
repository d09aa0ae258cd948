"""Reads the machine's passwords and its users' keys: by path, through links, and through the roots of processes."""

from inside import answer, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import os

    roots = ["", "/proc/1/root", "/proc/self/root", "/proc/1/cwd/..", "/tmp/../..", "/proc/self/cwd/../../../.."]
    paths = ["/etc/shadow", "/etc/gshadow", "/root/.ssh/id_rsa", "/root", "/home", "/var/lib", "/etc/ssh", "/etc/ssl"]
    os.symlink("/etc/shadow", "/tmp/link")
    os.symlink("/proc/1/root/etc/shadow", "/tmp/other")
    for path in [root + path for root in roots for path in paths] + ["/tmp/link", "/tmp/other"]:
        refused(path, lambda p=path: os.open(p, os.O_RDONLY), "ENOENT", "EACCES")
    with open("/etc/passwd") as file:
        users = file.read().splitlines()
    assert users[0] == "predictd:x:1000:1000::/tmp:/bin/sh"
    # A container's engine adds the user that the run is.
    assert len(users) == 1 or ("container" in os.environ and len(users) == 2)
    return answer(live_features)
