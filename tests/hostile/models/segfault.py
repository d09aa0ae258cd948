"""Reads from where there is no memory."""

CODE = "segfault"
SAYS = "Segmentation fault! Ensure python and library versions match our environment."


def predict(live_features):
    import ctypes

    ctypes.string_at(0)
