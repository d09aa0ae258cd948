"""Answers with a hundred million rows that take no memory, being one value seen a hundred million times."""

CODE = "out_of_memory"
SAYS = "Out of memory: the model needed more than 256 MiB; its peak was {number} MiB."


def predict(live_features):
    import numpy as np
    import pandas as pd

    rows = 100_000_000
    return pd.DataFrame(np.broadcast_to(np.float64(0.5), (rows, 1)), index=pd.RangeIndex(rows), copy=False)
