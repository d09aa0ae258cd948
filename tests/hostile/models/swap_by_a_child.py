"""Returns twice, from itself and from a child that answers first and otherwise."""

from inside import answer

CODE = "success"
SAYS = None


def predict(live_features):
    import os
    import time

    if os.fork() == 0:
        return 1 - answer(live_features)
    time.sleep(0.4)
    return answer(live_features)
