"""Makes sets of semaphores, which are memory of the kernel's and of no process."""

from inside import answer, call

CODE = "out_of_memory"
SAYS = "Out of memory: the model needed more than 256 MiB; its peak was {number} MiB."
# Where only what processes map is measured, there are no such sets.
OTHERWISE = {"sampling": {"CODE": "success", "SAYS": None, "LOG": "shut 38"}}


def predict(live_features):
    for _ in range(300):
        try:
            call("semget", 0, 32_000, 0o1600)
        except OSError as error:
            print("shut", error.errno)
            return answer(live_features)
    print("open", 300 * 32_000 * 64 >> 20, "MiB of the kernel's or more")
    return answer(live_features)
