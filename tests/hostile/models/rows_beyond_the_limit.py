"""Answers with more rows than an answer may have."""

CODE = "output_too_large"
SAYS = "The output is larger than 8 MiB of predictions."


def predict(live_features):
    import pandas as pd

    return pd.DataFrame({"prediction": 0.5}, index=[f"n{number:015x}" for number in range(400_000)])
