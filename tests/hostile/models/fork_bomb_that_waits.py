"""Forks for ever, swallows every refusal and keeps its children: neither they nor their names stay behind."""

CODE = "timeout"
SAYS = "Timeout: the model had not ended after 1.5 seconds; it was at the stage 'predict' ({text})."
LIMITS = {"seconds": 1.5, "memory_bytes": 1 << 30}


def predict(live_features):
    import os

    while True:
        try:
            if os.fork() == 0:
                os.setsid()
        except OSError:
            continue
