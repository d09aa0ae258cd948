"""Reaches for the first process of its namespace: its limits, and by every signal."""

from inside import answer, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import contextlib
    import os
    import resource
    import signal
    import time

    for name in ("prlimit of the first process", "prlimit of the parent"):
        pid = 1 if "first" in name else os.getppid()
        for which in (resource.RLIMIT_CPU, resource.RLIMIT_NOFILE, resource.RLIMIT_AS):
            refused(name, lambda pid=pid, which=which: resource.prlimit(pid, which, (0, 0)), "EPERM", "ESRCH")
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGXCPU, signal.SIGSEGV):
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.kill(1, number)
    time.sleep(0.2)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 1024
    return answer(live_features)
