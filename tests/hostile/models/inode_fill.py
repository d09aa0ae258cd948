"""Makes empty files, which have no size but cost the kernel a kilobyte each."""

from inside import answer

CODE = "out_of_memory"
SAYS = "Out of memory: the model needed more than 256 MiB; its peak was {number} MiB."
LIMITS = {"seconds": 30}


def predict(live_features):
    import os

    made = 0
    try:
        for folder in range(60):
            os.mkdir(f"/tmp/{folder}")
            for number in range(10_000):
                os.mknod(f"/tmp/{folder}/{number}")
                made += 1
    except OSError as error:
        print("shut after", made, error)
    if made > 300_000:
        print("open", made, "files")
    return answer(live_features)
