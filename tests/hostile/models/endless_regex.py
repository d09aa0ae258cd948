"""Loops in C and never gives the interpreter back: a regular expression that takes longer than the universe."""

CODE = "timeout"
SAYS = "Timeout: the model had not ended after 1.5 seconds; it was at the stage 'predict' ({text})."
LIMITS = {"seconds": 1.5}


def predict(live_features):
    import re

    return re.match(r"(x+x+)+y", "x" * 100)
