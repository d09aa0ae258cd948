"""Closes every descriptor of the process, the pipe of the answer among them, and ends well."""

CODE = "bad_output"
SAYS = "The model's process answered nothing that can be read: it closed the pipe of the result."


def predict(live_features):
    import os

    os.closerange(0, 4096)
