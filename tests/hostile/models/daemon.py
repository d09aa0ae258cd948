"""Leaves a daemon: forked twice, in a session of its own, deaf to signals, with its outputs closed."""

from inside import answer

CODE = "success"
SAYS = None


def predict(live_features):
    import os
    import signal
    import time

    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_IGN)
            os.closerange(0, 1024)
            os.execv("/usr/bin/sleep", ["hostile-daemon", "98765.4321"])
        os._exit(0)
    time.sleep(0.2)
    return answer(live_features)
