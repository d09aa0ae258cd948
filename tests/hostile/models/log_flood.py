"""Prints without an end."""

CODE = "output_too_large"
SAYS = "The output is larger than 4 MiB of log."


def predict(live_features):
    while True:
        print("x" * 100_000)
