"""Does nothing, for ever."""

CODE = "timeout"
SAYS = "Timeout: the model had not ended after 1.5 seconds; it was at the stage 'predict' ({text})."
LIMITS = {"seconds": 1.5}


def predict(live_features):
    import time

    time.sleep(1e9)
