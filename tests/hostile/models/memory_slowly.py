"""Grows by a megabyte at a time until something happens."""

CODE = "out_of_memory"
SAYS = "Out of memory: the model needed more than 256 MiB; its peak was {number} MiB."


def predict(live_features):
    import time

    kept = []
    while len(kept) < 1000:
        kept.append(bytearray(b"x" * (1 << 20)))
        time.sleep(0.002)
    print("open", len(kept), "MiB")
