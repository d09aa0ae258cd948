"""Starts threads for ever, each with nothing to do."""

CODE = "exception"
CAUSE = "too_many_processes"
SAYS = "The model raised RuntimeError: can't start new thread."


def predict(live_features):
    import threading
    import time

    while True:
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
