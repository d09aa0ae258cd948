"""Forks for ever, in every child too."""

CODE = "exception"
SAYS = "The model raised BlockingIOError: [Errno 11] Resource temporarily unavailable."
LIMITS = {"memory_bytes": 1 << 30}


def predict(live_features):
    import os

    while True:
        os.fork()
