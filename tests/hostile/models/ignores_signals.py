"""Ignores or blocks every signal that can be, in a child too, and loops."""

CODE = "timeout"
SAYS = "Timeout: the model had not ended after 1.5 seconds; it was at the stage 'predict' ({text})."
LIMITS = {"seconds": 1.5}


def predict(live_features):
    import os
    import signal

    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    os.fork()
    os.setsid() if os.getpid() != os.getpgrp() else None
    while True:
        pass
