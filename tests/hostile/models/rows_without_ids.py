"""Answers with more rows than an answer may have, each with an empty id, so that many fit into few bytes."""

CODE = "output_too_large"
SAYS = "The output is larger than {number} predictions for data of {number} rows."


def predict(live_features):
    import pandas as pd

    return pd.DataFrame({"prediction": 0.5}, index=[""] * 600_000)
