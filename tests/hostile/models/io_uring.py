"""Makes system calls that no filter sees, by handing them to the kernel in a ring."""

from inside import answer, call, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import ctypes

    parameters = ctypes.create_string_buffer(120)
    for entries in (1, 64):
        refused("io_uring_setup", lambda e=entries: call("io_uring_setup", e, parameters), "ENOSYS")
    refused("io_uring_enter", lambda: call("io_uring_enter", 3, 1, 0, 0, 0, 0), "ENOSYS")
    refused("io_uring_register", lambda: call("io_uring_register", -1, 21, 0, 1), "ENOSYS")
    return answer(live_features)
