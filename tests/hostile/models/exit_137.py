"""Ends with the exit code by which some platforms know that memory ran out."""

CODE = "killed"
SAYS = "The model's process died of signal 9 (SIGKILL)."


def predict(live_features):
    import os

    os._exit(137)
