"""The steps of the public runner in one process: imports, the pickle, the live file, predict, checks, the CSV.

Called by the runtime's Python as `peer.py MODEL LIVE OUTPUT`. Downloads and uploads are omitted, and with them their
imports (requests, numerapi), so it is faster than the real runner.
"""

import argparse
import logging
import pickle
import sys
from inspect import signature

import pandas as pd


def main() -> None:
    """Run one model on one live file."""
    parser = argparse.ArgumentParser()
    for name in ("model", "live", "output"):
        parser.add_argument(name)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    try:
        model = pd.read_pickle(arguments.model)
    except pickle.UnpicklingError as error:
        sys.exit(f"Invalid pickle - {error}")
    if len(signature(model).parameters) != 1:
        sys.exit("A model of this benchmark takes one argument")
    live = pd.read_parquet(arguments.live)
    predictions = []
    for _, rows in live.groupby("era"):
        predicted = model(rows)
        if type(predicted) is not pd.DataFrame or len(predicted) != len(rows):
            sys.exit("Pickle function is invalid")
        if predicted.isna().any().any() or not predicted.iloc[:, 0].between(0, 1).all():
            sys.exit("Pickle function returned invalid predictions")
        predictions.append(predicted)
    with open(arguments.output, "w") as file:
        pd.concat(predictions).to_csv(file)


if __name__ == "__main__":
    main()
