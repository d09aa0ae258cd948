"""Fills message queues of System V, which are memory of the kernel's and of no process."""

from inside import answer, call

CODE = "out_of_memory"
SAYS = "Out of memory: the model needed more than 256 MiB; its peak was {number} MiB."
# Where only what processes map is measured, there are no such queues.
OTHERWISE = {"sampling": {"CODE": "success", "SAYS": None, "LOG": "shut 38"}}


def predict(live_features):
    import ctypes

    message = ctypes.create_string_buffer(b"\1" * 8 + b"x" * 8192)
    for _ in range(31_000):
        try:
            queue = call("msgget", 0, 0o1600)
        except OSError as error:
            print("shut", error.errno)
            return answer(live_features)
        for _ in range(2):
            call("msgsnd", queue, message, 8184, 0o4000)
    print("open", 31_000 * 16 >> 10, "MiB of the kernel's")
    return answer(live_features)
