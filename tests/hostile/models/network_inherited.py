"""Looks for a socket, a folder or any other way out among the descriptors that it was born with."""

from inside import answer

CODE = "success"
SAYS = None


def predict(live_features):
    import os
    import stat

    for name in os.listdir("/proc/self/fd"):
        try:
            mode = os.fstat(int(name)).st_mode
        except OSError:  # that of the listing
            continue
        if stat.S_ISSOCK(mode) or stat.S_ISDIR(mode) or stat.S_ISBLK(mode):
            print("open", name, os.readlink(f"/proc/self/fd/{name}"))
        if stat.S_ISCHR(mode):
            assert os.readlink(f"/proc/self/fd/{name}") == "/dev/null"
    assert os.readlink("/proc/self/cwd") == "/tmp"
    return answer(live_features)
