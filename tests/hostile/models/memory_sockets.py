"""Fills the buffers of local sockets, which are memory of the kernel's, and hides what it has open."""

from inside import answer, call

CODE = "out_of_memory"
SAYS = "Out of memory: the model needed more than 256 MiB; its peak was {number} MiB."


def predict(live_features):
    import contextlib
    import os
    import signal
    import socket
    import time

    def fill(held):
        for one in held:
            one.setblocking(False)
            try:
                while True:
                    one.send(b"x" * 65536)
            except BlockingIOError:
                continue

    with contextlib.suppress(PermissionError):
        call("prctl", 4, 0, 0, 0, 0)
    for _ in range(6):
        if os.fork() == 0:
            pairs = [socket.socketpair() for _ in range(450)]
            fill([one for pair in pairs for one in pair])
            print("filled 900 buffers")
            signal.pause()
    time.sleep(4)
    print("open", 6 * 900 * 200 // 1024, "MiB of the kernel's")
    return answer(live_features)
