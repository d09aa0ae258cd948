"""Fills /dev/shm, whose files are memory, beyond what it was given."""

CODE = "exception"
CAUSE = "full_disk"
SAYS = "The model raised OSError: [Errno 28] No space left on device."


def predict(live_features):
    with open("/dev/shm/file", "wb") as file:
        for _ in range(1024):
            file.write(b"x" * (1 << 20))
    print("open: a gigabyte in /dev/shm")
