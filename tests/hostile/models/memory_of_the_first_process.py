"""Leaves the first process of its namespace the largest when memory runs out, so that the kernel ends that one."""

CODE = "out_of_memory"
SAYS = "Out of memory: the model needed more than 256 MiB; its peak was {number} MiB."


def predict(live_features):
    import os
    import sys

    small = """
import os, time
for _ in range(30):
    if os.fork() == 0:
        held = bytearray(b'x') * (20 << 20)
        time.sleep(30)
        os._exit(0)
time.sleep(10)
"""
    os.execv(sys.executable, [sys.executable, "-S", "-E", "-c", small])
