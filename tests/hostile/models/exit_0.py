"""Ends the process as if all were well, without an answer."""

CODE = "exited"
SAYS = "The model ended the process (exit code 0) before it answered."


def predict(live_features):
    import os

    os._exit(0)
