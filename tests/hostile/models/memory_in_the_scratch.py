"""Fills the scratch, whose files are memory, while it holds as much memory as it may."""

CODE = "out_of_memory"
SAYS = "Out of memory: the model needed more than 256 MiB; its peak was {number} MiB."
LIMITS = {"scratch_bytes": 512 << 20}


def predict(live_features):
    with open("/tmp/file", "wb") as file:
        for _ in range(480):
            file.write(b"x" * (1 << 20))
            file.flush()
    print("open 480 MiB in the scratch")
