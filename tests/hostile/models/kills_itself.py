"""Dies of SIGKILL by its own hand, as if it had been killed for want of memory."""

CODE = "killed"
SAYS = "The model's process died of signal 9 (SIGKILL)."


def predict(live_features):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
