"""Lets children print without end while it answers in peace."""

from inside import answer

CODE = "output_too_large"
SAYS = "The output is larger than 4 MiB of log."


def predict(live_features):
    import os
    import time

    for _ in range(4):
        if os.fork() == 0:
            while True:
                os.write(1, b"y" * 65536)
    time.sleep(5)
    return answer(live_features)
