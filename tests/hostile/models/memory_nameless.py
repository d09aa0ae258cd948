"""Takes a name that is no text, so that whoever reads its status stumbles, and then more memory than it may have."""

from inside import answer, call

CODE = "out_of_memory"
SAYS = "Out of memory: the model needed more than 256 MiB; its peak was {number} MiB."


def predict(live_features):
    import os
    import time

    call("prctl", 15, b"\xff\xfe\n)", 0, 0, 0)
    for _ in range(6):
        if os.fork() == 0:
            held = bytearray(b"x") * (100 << 20)
            time.sleep(5)
            os._exit(len(held) == 0)
    time.sleep(4)
    print("open 600 MiB")
    return answer(live_features)
