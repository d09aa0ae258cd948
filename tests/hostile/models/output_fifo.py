"""Leaves pipes with names where an answer could be looked for: whoever opened one would wait for ever."""

from inside import answer

CODE = "success"
SAYS = None


def predict(live_features):
    import os

    for folder in ("/tmp", "/dev/shm"):
        for name in ("output", "predictions.csv", "predictions.parquet", "answer", "log", "result.json"):
            os.mkfifo(f"{folder}/{name}", 0o666)
    return answer(live_features)
