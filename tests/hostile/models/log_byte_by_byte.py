"""Prints empty lines byte by byte, so that each of them wakes the server and is a line of the log."""

from inside import answer

CODE = "success"
SAYS = None


def predict(live_features):
    import os

    for _ in range(50_000):
        os.write(1, b"\n")
    return answer(live_features)
