"""Fills the scratch with files until there is no room left."""

CODE = "exception"
CAUSE = "full_disk"
SAYS = "The model raised OSError: [Errno 28] No space left on device."


def predict(live_features):
    number = 0
    while True:
        number += 1
        with open(f"/tmp/{number}", "wb") as file:
            file.write(b"x" * (1 << 20))
