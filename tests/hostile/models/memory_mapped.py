"""Takes memory that is shared with children, so that it is nobody's own."""

from inside import answer

CODE = "out_of_memory"
SAYS = "Out of memory: the model needed more than 256 MiB; its peak was {number} MiB."
# Where there is no control group, which counts it, there is none without a file.
OTHERWISE = {"sampling": {"CODE": "success", "SAYS": None, "LOG": "shut"}}


def predict(live_features):
    import mmap
    import os
    import time

    try:
        shared = [mmap.mmap(-1, 1 << 27) for _ in range(6)]
    except PermissionError as error:
        print("shut", error)
        return answer(live_features)
    for one in shared:
        if os.fork() == 0:
            one.write(b"x" * (1 << 27))
            print("filled one")
            time.sleep(10)
    time.sleep(5)
    print("open", len(shared) * 128, "MiB")
    return answer(live_features)
