"""Answers with ids of ten million characters each."""

CODE = "output_too_large"
SAYS = "The output is larger than {number} predictions for data of 2000 rows."
LIMITS = {"output_bytes": 64 << 20, "memory_bytes": 1 << 30}


def predict(live_features):
    import pandas as pd

    ids = ["x" * 10_000_000 + str(number) for number in range(4)]
    return pd.DataFrame({"prediction": [0.1, 0.2, 0.3, 0.4]}, index=ids)
