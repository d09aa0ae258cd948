"""Reads the server's database and a secret beside it, by their paths on this machine."""

from inside import answer, refused

CODE = "success"
SAYS = None
LOG = "shut unable to open database file"
HOST = {}


def predict(live_features):
    import os
    import sqlite3

    for root in ("", "/proc/1/root", "/oldroot", "/newroot", "/proc/1/root/oldroot"):
        for name in ("database", "secret_file", "folder"):
            path = root + HOST[name]
            refused(path, lambda p=path: os.open(p, os.O_RDONLY), "ENOENT", "EACCES")
    try:
        rows = sqlite3.connect(f"file:{HOST['database']}?mode=ro", uri=True).execute("SELECT * FROM tokens").fetchall()
        print("open", rows)
    except sqlite3.OperationalError as error:
        print("shut", error)
    return answer(live_features)
