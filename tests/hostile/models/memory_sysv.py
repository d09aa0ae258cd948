"""Fills shared memory of System V, detaches from it and leaves it to nobody."""

from inside import answer, call

CODE = "out_of_memory"
SAYS = "Out of memory: the model needed more than 256 MiB; its peak was {number} MiB."
# Where only what processes map is measured, there is no such memory.
OTHERWISE = {"sampling": {"CODE": "success", "SAYS": None, "LOG": "shut 38"}}


def predict(live_features):
    import ctypes

    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_void_p
    for _ in range(12):
        try:
            segment = call("shmget", 0, 64 << 20, 0o1600)
        except OSError as error:
            print("shut", error.errno)
            return answer(live_features)
        at = libc.shmat(segment, None, 0)
        ctypes.memset(at, 1, 64 << 20)
        libc.shmdt(ctypes.c_void_p(at))
    print("open", 12 * 64, "MiB")
    return answer(live_features)
