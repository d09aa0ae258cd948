"""Receives on every descriptor number whatever the server sends to anybody, and replies in that run's name."""

from inside import answer

CODE = "success"
SAYS = None
RUNS = 2


def predict(live_features):
    import json
    import os
    import socket
    import time

    def listen(seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for number in range(4096):
                try:
                    with socket.socket(fileno=os.dup(number)) as taken:
                        data, descriptors, _, _ = socket.recv_fds(taken, 65536, 32, socket.MSG_DONTWAIT)
                        print("open", number, data[:200], descriptors, flush=True)
                        reply = {"nonce": json.loads(data)["nonce"], "error": None}
                        socket.send_fds(taken, [json.dumps(reply).encode()], descriptors[:1])
                except (OSError, ValueError):
                    continue

    # One listens on while this run ends and the next begins.
    if os.fork() == 0:
        os.setsid()
        listen(30)
        os._exit(0)
    listen(0.5)
    return answer(live_features)
