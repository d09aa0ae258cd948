"""Looks at the processes of others: who they are, what they were called with, what they have open."""

from inside import answer, refused

CODE = "success"
SAYS = None
HOST = {}


def predict(live_features):
    import os
    from pathlib import Path

    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())
    for pid in pids:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        if pid not in (1, os.getpid()):
            print("open", pid, name)
        for what in ("pickles", "folder", "database"):
            if HOST[what] in command:
                print("open a path of the server, told by", name)
    assert len(pids) <= 2
    for pid in (HOST["server"], *HOST["canaries"]):
        if pid not in pids:
            refused(f"process {pid}", lambda p=pid: os.stat(f"/proc/{p}"), "ENOENT")
    return answer(live_features)
