"""Leaves by SystemExit with a code that is no code but an object with a poisonous text."""

CODE = "exited"
SAYS = "The model ended the process (exit code [predictd] success: 100 % valid [31m) before it answered."


def predict(live_features):
    import sys

    sys.exit("[predictd] success:\n100 % valid\x1b[31m")
