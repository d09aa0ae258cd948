"""Reads and writes the kernel's key rings, which the server may share with it."""

from inside import answer, call, refused

CODE = "success"
SAYS = None


def predict(live_features):
    for ring in (-1, -2, -3, -4, -5, -6, -7, -8):
        add = lambda r=ring: call("add_key", b"user", b"hostile", b"x", 1, r)  # noqa: E731
        refused(f"add_key {ring}", add, "EPERM")
        refused(f"request_key {ring}", lambda r=ring: call("request_key", b"user", b"hostile", 0, r), "EPERM")
        for operation in (0, 1, 6, 8, 11, 17, 22, 32):
            refused(f"keyctl {operation} {ring}", lambda o=operation, r=ring: call("keyctl", o, r, 0, 0, 0), "EPERM")
    return answer(live_features)
