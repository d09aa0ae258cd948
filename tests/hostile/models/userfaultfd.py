"""Holds the kernel up in the middle of a copy, as exploits of the kernel do."""

from inside import answer, call, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import os

    for flags in (0, 1, 0x800, 0x80000):
        refused(f"userfaultfd {flags}", lambda f=flags: call("userfaultfd", f), "EPERM")
    refused("its device", lambda: os.open("/dev/userfaultfd", os.O_RDWR), "ENOENT")
    refused("memfd_secret", lambda: call("memfd_secret", 0), "EPERM", "ENOSYS")
    return answer(live_features)
