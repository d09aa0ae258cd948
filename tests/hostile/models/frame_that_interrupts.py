"""Answers with a frame that raises what is no Exception when it is looked at."""

CODE = "exception"
SAYS = "The model raised KeyboardInterrupt: looked at."


def predict(live_features):
    import pandas as pd

    class Frame(pd.DataFrame):
        @property
        def iloc(self):
            raise KeyboardInterrupt("looked at")

    return Frame({"prediction": 0.5}, index=live_features.index)
