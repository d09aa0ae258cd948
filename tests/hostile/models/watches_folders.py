"""Asks for a signal when the host uses a file of a folder that the model sees (dnotify), or for a lease on it."""

from inside import answer, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import fcntl
    import os
    import sys

    for folder in ("/usr/bin", "/usr/lib", sys.base_prefix, "/tmp"):
        number = os.open(folder, os.O_RDONLY)
        for events in (0x1, 0x8000003F):
            refused(f"dnotify of {folder}", lambda n=number, e=events: fcntl.fcntl(n, 1026, e), "EINVAL")
    # Of its own file too: as an ordinary user's server, all files of the runtime are the model's user's own.
    with open("/tmp/own", "w+"):
        pass
    for path in (sys.executable, "/bin/true", "/tmp/own"):
        number = os.open(path, os.O_RDONLY)
        for kind in (fcntl.F_RDLCK, fcntl.F_WRLCK):
            refused(f"a lease of {path}", lambda n=number, k=kind: fcntl.fcntl(n, 1024, k), "EINVAL")
    return answer(live_features)
