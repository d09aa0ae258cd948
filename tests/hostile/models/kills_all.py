"""Kills every process it may: all, all of its group, and those of this machine by their numbers."""

from inside import answer, refused

CODE = "success"
SAYS = None
HOST = {}


def predict(live_features):
    import os
    import signal

    refused("kill all", lambda: os.kill(-1, signal.SIGKILL), "ESRCH")
    for pid in (HOST["server"], *HOST["canaries"]):
        refused(f"kill {pid}", lambda p=pid: os.kill(p, signal.SIGKILL), "ESRCH")
        refused(f"group {pid}", lambda p=pid: os.killpg(p, signal.SIGKILL), "ESRCH")
        refused(f"pidfd {pid}", lambda p=pid: os.pidfd_open(p), "ESRCH", "EINVAL")
    mine = {int(name) for name in os.listdir("/proc/self/task")}
    for pid in range(3, 40_000):
        if pid not in mine:
            try:
                os.kill(pid, signal.SIGKILL)
                print("open kill", pid)
            except ProcessLookupError:
                continue
    return answer(live_features)
