"""Stops itself and every process it can with SIGSTOP, so that nobody ends."""

CODE = "timeout"
SAYS = "Timeout: the model had not ended after 1.5 seconds; it was at the stage 'predict' ({text})."
LIMITS = {"seconds": 1.5}


def predict(live_features):
    import os
    import signal

    if os.fork() == 0:
        signal.pause()
    os.kill(1, signal.SIGSTOP)
    os.kill(-1, signal.SIGSTOP)
    os.kill(os.getpid(), signal.SIGSTOP)
