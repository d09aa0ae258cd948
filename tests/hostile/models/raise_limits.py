"""Raises its own limits, and those of the process above it."""

from inside import answer, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import os
    import resource

    limits = {"CORE": 0, "NOFILE": 1024, "FSIZE": 64 << 20, "NPROC": 64}
    for name, most in limits.items():
        which = getattr(resource, f"RLIMIT_{name}")
        assert resource.getrlimit(which) == (most, most)
        for pid in (0, os.getpid()):
            for value in ((most + 1, most + 1), (most, most + 1), (resource.RLIM_INFINITY,) * 2):
                try:
                    resource.prlimit(pid, which, value)
                    print("open", name, value)
                except (ValueError, PermissionError) as error:
                    print("shut", name, error)
    for attempt in (lambda: os.nice(-5), lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))):
        try:
            print("open", attempt())
        except PermissionError as error:
            print("shut", error)
    file = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    refused("never killed for memory", lambda: os.write(file, b"-1000"), "EACCES")
    return answer(live_features)
