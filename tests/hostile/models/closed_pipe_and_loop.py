"""Closes the pipe of the answer and goes on for ever, with nobody to hear it."""

CODE = "timeout"
SAYS = "Timeout: the model had not ended after 1.5 seconds; it was at the stage 'predict' ({text})."
LIMITS = {"seconds": 1.5}


def predict(live_features):
    import os

    os.closerange(0, 4096)
    while True:
        pass
