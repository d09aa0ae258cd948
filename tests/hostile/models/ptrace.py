"""Traces, reads and steers other processes, its own children among them."""

from inside import answer, call, refused

CODE = "success"
SAYS = None


def predict(live_features):
    import ctypes
    import os
    import signal

    child = os.fork()
    if child == 0:
        signal.pause()
    buffer = ctypes.create_string_buffer(64)
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
    for target in (0, 1, child, os.getpid()):
        for request in (0, 16, 0x4206):
            refused(f"ptrace {request} {target}", lambda r=request, t=target: call("ptrace", r, t, 0, 0), "EPERM")
        for name in ("process_vm_readv", "process_vm_writev"):
            refused(f"{name} {target}", lambda n=name, t=target: call(n, t, vector, 1, vector, 1, 0), "EPERM")
        refused(f"kcmp {target}", lambda t=target: call("kcmp", t, os.getpid(), 0, 0, 0), "EPERM")
    watched = os.pidfd_open(child)
    refused("pidfd_getfd", lambda: call("pidfd_getfd", watched, 0, 0), "EPERM")
    os.kill(child, signal.SIGKILL)
    return answer(live_features)
