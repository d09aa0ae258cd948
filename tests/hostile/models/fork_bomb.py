"""Forks for ever, in every child too."""

CODE = "exception"
CAUSE = "too_many_processes"
SAYS = "The model raised BlockingIOError: [Errno 11] Resource temporarily unavailable."
LIMITS = {"memory_bytes": 1 << 30}


def predict(live_features):
    import os

    while True:
        os.fork()
