"""Answers with a frame whose index never ends."""

from inside import answer

CODE = "out_of_memory"
SAYS = "Out of memory: the model needed more than 256 MiB; its peak was {number} MiB."


def predict(live_features):
    import itertools

    import pandas as pd

    class Frame(pd.DataFrame):
        shape = (2000, 1)

        @property
        def index(self):
            return itertools.count()

    return Frame({"prediction": answer(live_features)["prediction"].to_numpy()})
