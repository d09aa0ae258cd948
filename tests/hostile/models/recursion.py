"""Calls itself without end."""

CODE = "exception"
CAUSE = "recursion"
SAYS = "The model raised RecursionError: maximum recursion depth exceeded."


def predict(live_features):
    return predict(live_features)
