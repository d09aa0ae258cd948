"""Sends descriptors that nobody receives, sockets in circles among them, so that its user may send no more."""

from inside import answer

CODE = "success"
SAYS = None
RUNS = 2


def predict(live_features):
    import array
    import os
    import socket

    def circle():
        first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        numbers = [first.fileno(), second.fileno(), *[nothing] * 248]
        for sender in (first, second):
            sender.setblocking(False)
            rights = array.array("i", numbers)
            sender.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        return first, second

    nothing = os.open(os.devnull, os.O_RDONLY)
    if os.fork() == 0:
        os.setsid()
        kept = []
        while True:
            try:
                kept.append(circle())
            except OSError:
                kept = kept[len(kept) // 2 :]
    import time

    time.sleep(1)
    return answer(live_features)
