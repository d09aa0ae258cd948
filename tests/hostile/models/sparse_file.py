"""Makes a file of a terabyte that is all holes."""

CODE = "exception"
CAUSE = "full_disk"
SAYS = "The model raised OSError: [Errno 27] File too large."


def predict(live_features):
    with open("/tmp/hostile-file", "wb") as file:
        file.seek((1 << 40) - 1)
        file.write(b"x")
    print("open: a terabyte")
