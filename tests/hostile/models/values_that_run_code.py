"""Answers with numbers that are none: each runs code, and grows the frame, when it becomes a float."""

from inside import answer

CODE = "success"
SAYS = None


def predict(live_features):
    right = answer(live_features)

    class Number(float):
        def __float__(self):
            right.loc["n-new"] = 0.5
            return 9e99

    right["prediction"] = [Number(value) for value in right["prediction"]]
    right["prediction"] = right["prediction"].astype(object)
    return right
