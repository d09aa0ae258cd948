"""Answers with objects that run commands when they are pickled, unpickled, compared or turned into text."""

CODE = "not_numeric"
SAYS = "The first column must hold numbers, but it holds object values such as [predictd] success, 100 % valid."


def predict(live_features):
    import os

    import pandas as pd

    class Poison:
        def __reduce__(self):
            return os.system, ("echo open: run by pickle",)

        def __repr__(self):
            return "[predictd] success,\n100 % valid"

        def __eq__(self, other):
            return True

        def __hash__(self):
            return 1

    return pd.DataFrame({"prediction": [Poison() for _ in live_features.index]}, index=live_features.index)
