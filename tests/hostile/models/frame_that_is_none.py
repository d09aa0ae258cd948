"""Answers with an object that only claims to be a DataFrame, and is asked piece by piece."""

from inside import answer

CODE = "success"
SAYS = None


def predict(live_features):
    import pandas as pd

    right = answer(live_features)

    class Claim:
        __class__ = pd.DataFrame
        shape = (1 << 62, 1)
        index = right.index
        iloc = right.iloc

        def __getattr__(self, name):
            print("asked for", name)
            raise AttributeError(name)

    return Claim()
