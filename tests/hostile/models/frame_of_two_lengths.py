"""Answers with a frame that has more values than ids, so that they might shift against each other."""

from inside import answer

CODE = "bad_output"
SAYS = "The model's process answered nothing that can be read: a result whose lengths do not add up."


def predict(live_features):
    import pandas as pd

    class Frame(pd.DataFrame):
        index = ("n1", "n2", "n3")
        shape = (3, 1)

    right = answer(live_features)
    return Frame({"prediction": right["prediction"].to_numpy()})
