"""Raises an exception whose text is a hundred megabytes."""

CODE = "exception"
SAYS = "The model raised ValueError: xxxxx{text}x…."
LIMITS = {"memory_bytes": 2 << 30}


def predict(live_features):
    raise ValueError("x" * 100_000_000)
