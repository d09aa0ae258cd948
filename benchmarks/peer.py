"""The public runner's own steps, as one process: imports, the pickle, the live file, predict, checks, the CSV.

Called by the runtime's Python as `peer.py MODEL LIVE OUTPUT`. Its downloads and uploads are left out, and with them the
imports that only they need (requests, numerapi), which makes it faster than the runner that it stands for.
"""

import argparse
import logging
import pickle
import sys
from inspect import signature

import pandas as pd


def main() -> None:
    """Runs one model on one live file."""
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
        answer = model(rows)
        if type(answer) is not pd.DataFrame or len(answer) != len(rows):
            sys.exit("Pickle function is invalid")
        if answer.isna().any().any() or not answer.iloc[:, 0].between(0, 1).all():
            sys.exit("Pickle function returned invalid predictions")
        predictions.append(answer)
    with open(arguments.output, "w") as file:
        pd.concat(predictions).to_csv(file)


if __name__ == "__main__":
    main()
