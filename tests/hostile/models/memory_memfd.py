"""Fills anonymous files, which no process needs to map."""

from inside import answer, call

CODE = "out_of_memory"
SAYS = "Out of memory: the model needed more than 256 MiB; its peak was {number} MiB."
# Where only what processes map is measured, there are no such files.
OTHERWISE = {"sampling": {"CODE": "success", "SAYS": None, "LOG": "shut 38"}}


def predict(live_features):
    import os

    try:
        files = [call("memfd_create", b"file", 0) for _ in range(16)]
    except OSError as error:
        print("shut", error.errno)
        return answer(live_features)
    for file in files:
        for _ in range(50):
            os.write(file, b"x" * (1 << 20))
    print("open", len(files) * 50, "MiB")
    return answer(live_features)
