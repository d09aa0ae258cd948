"""Answers with a frame whose column takes for ever to become numbers."""

CODE = "timeout"
SAYS = "Timeout: the model had not ended after 1.5 seconds; it was at the stage 'write' ({text})."
LIMITS = {"seconds": 1.5}


def predict(live_features):
    import pandas as pd

    class Slow(float):
        def __float__(self):
            while True:
                pass

    class Frame(pd.DataFrame):
        @property
        def iloc(self):
            while True:
                pass

    return Frame({"prediction": [Slow(0.5)] * len(live_features)}, index=live_features.index)
